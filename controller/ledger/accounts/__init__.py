"""The accounts: usage taken in, hours settled into lines, sums to read, and the proof that all of it adds up."""
