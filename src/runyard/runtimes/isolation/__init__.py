"""Owns how commands are isolated and spawned. Knows nothing of the ledger or of HTTP."""
