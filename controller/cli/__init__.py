"""What each command does and prints: running (run.py), asking (ask.py), the file they read (files.py), tables.py."""
