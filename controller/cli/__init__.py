"""What each command does and prints: running (run.py), asking (ask.py) and tables (tables.py)."""
