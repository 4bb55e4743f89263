"""Bills, one file a format: what a provider says that the fleet cost."""
