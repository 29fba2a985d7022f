"""Remote executions: a plan of code that somebody has on their own machine, against a workspace."""
