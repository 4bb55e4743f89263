"""What the ledger's accounts cost: records taken in, questions answered, hours settled, bytes kept."""
