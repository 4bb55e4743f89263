"""Pennyweight's controller: observe, estimate, decide, record, act."""
