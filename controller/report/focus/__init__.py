"""FOCUS 1.2: cost rows in the columns that finance tools already read, and our own checks of them."""
