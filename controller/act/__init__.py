"""Turns decisions into running replicas: dry run, processes of this host, systemd units. Nothing here decides."""
