"""Errors of task packages. Owns their codes; no HTTP."""

from runyard.kernel.errors import InvalidArgument, NotFound


class BadPackage(InvalidArgument):
    """The task package is not valid."""

    code = "bad_package"


class DigestMismatch(InvalidArgument):
    """The bytes do not have the digest that was promised."""

    code = "digest_mismatch"


class TaskNotFound(NotFound):
    """Task not found."""

    code = "task_not_found"
