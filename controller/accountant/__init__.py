"""The job beside the passes: usage read, prices asked for, hours settled, budgets kept, and what is told of it all."""
