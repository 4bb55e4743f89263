"""What the best possible controller would have paid: between a lower bound that nobody can beat and a clairvoyant
schedule that somebody with tomorrow's paper could have run."""
