"""What capacity costs: one file a price source, and the order in which they are asked."""
