"""The runner's side of an action, by its old name."""
