"""Owns variables and variable sets: where they hang, how they win over each other, what of them is secret."""
