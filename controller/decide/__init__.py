"""What should change: pure functions from the situation, the rules and the memory to decisions with their reasons."""
