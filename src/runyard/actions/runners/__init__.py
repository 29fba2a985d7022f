"""Runners: how each kind of action is run. One file a kind; a runner gets a job and returns how it ended."""
