"""The Harness door: remote executions and the workspaces around them."""
