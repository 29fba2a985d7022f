"""Owns what infrastructure adds to a project of the tree: description, labels, schedule, pool, cloud identity."""
