"""How often a pass asks a platform, counted on both sides. `python -m benchmarks.calls`."""
