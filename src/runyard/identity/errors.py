"""Errors of identity. Owns their codes; no HTTP."""

from runyard.kernel.errors import AlreadyExists, Conflict, InvalidArgument


class SlugTaken(AlreadyExists):
    """A sibling has this slug already."""

    code = "slug_taken"


class TreeTooDeep(InvalidArgument):
    """The project tree has at most 5 levels, the root included."""

    code = "tree_too_deep"


class StillInUse(Conflict):
    """Something still hangs on this project."""

    code = "still_in_use"


class LastAdmin(Conflict):
    """The root project needs an administrator: add another one first."""

    code = "last_admin"
