"""Workspaces, their runs, plans, guardrails, variables and state."""
