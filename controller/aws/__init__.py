"""AWS: its clients, and what its queues and instances announce. Decides nothing."""
