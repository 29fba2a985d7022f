"""The StackStorm door: actions and executions, as the `st2` command speaks to them."""
