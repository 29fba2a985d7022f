"""Errors of variables. Owns their codes; no HTTP."""

from runyard.kernel.errors import AlreadyExists, Conflict, InvalidArgument, NotFound


class VariableSetNotFound(NotFound):
    """Variable set not found."""

    code = "variable_set_not_found"


class VariableSetExists(AlreadyExists):
    """A variable set with this name already exists."""

    code = "variable_set_exists"


class VariableSetInUse(Conflict):
    """The variable set is the parent of another one."""

    code = "variable_set_in_use"


class VariableConflict(Conflict):
    """Two variable sets give one variable different values at the same place."""

    code = "variable_conflict"


class InvalidVariable(InvalidArgument):
    """The variable is not valid."""

    code = "invalid_variable"
