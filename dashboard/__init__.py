"""The Streamlit dashboard: asks the ledger's read side, never writes. Three pages, and pure helpers that they share."""
