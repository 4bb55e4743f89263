"""The Streamlit dashboard: asks the ledger's read side, never writes. Pages, and pure helpers that they share."""
