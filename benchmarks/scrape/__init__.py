"""What one pass over a fleet costs: our scraper beside a Prometheus server on the same targets."""
