"""Costs: what the resources of a plan cost in a month, by a table of prices or by an external estimator."""
