"""The Firefly door: workspaces, guardrails, projects, variables."""
