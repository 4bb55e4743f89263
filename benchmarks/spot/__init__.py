"""What spot saves and costs when it is taken away: our passes beside SkyServe's rule and on-demand alone."""
