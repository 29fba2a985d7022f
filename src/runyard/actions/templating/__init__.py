"""Templates in parameters, configurations and rules. Owns the sandbox, its budget and its filters; knows no action.

A template is text of a stranger: whatever it says, it costs a bounded time and a bounded memory, reads only the
values that it was given and changes nothing.
"""
