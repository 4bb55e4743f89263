"""Turns decisions into running replicas: dry run, processes of this host, systemd units, pods, instances of an Auto
Scaling group, or a count for somebody else. Nothing here decides."""
