"""The ledger: every execution, its state machine and its output log."""
