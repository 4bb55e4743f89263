"""What one pass over a large fleet takes, beside reading the engines."""
