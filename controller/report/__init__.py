"""Reports: what the ledger's accounts say, as tables, files and FOCUS exports. Never writes there."""
