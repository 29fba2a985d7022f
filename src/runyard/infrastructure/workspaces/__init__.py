"""Workspaces: what is planned and applied, from where, how, and who holds it locked."""
