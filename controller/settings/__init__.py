"""fleet.yaml: what exists and how to run. The only reader of environment variables."""
