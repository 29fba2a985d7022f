"""Runs: executions of actions. Owns what an action adds to a row of the ledger; the row itself is the ledger's."""
