"""Engines as the instances of an EC2 Auto Scaling group: who is there, who leaves, and what is told of them."""
