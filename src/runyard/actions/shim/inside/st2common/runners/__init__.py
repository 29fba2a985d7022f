"""The runner's side of an action."""
