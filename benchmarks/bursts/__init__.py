"""Traffic whose bursts nothing announces: what following them costs."""
