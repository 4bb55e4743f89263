"""What is known: frozen values with units. No I/O, no clock, no decisions, no imports from other rooms."""
