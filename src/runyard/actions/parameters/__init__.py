"""The parameters of an execution. Owns the way from what a caller gave to what a runner gets.

`Parameters` (validate) knows what an action takes; `resolve` makes the values of a request, `dispatch` those of a run.
"""
