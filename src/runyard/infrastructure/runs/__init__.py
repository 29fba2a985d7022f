"""Runs: one plan of a workspace and, when it is let pass, its apply."""
