"""Errors of configuration versions. Owns their codes; no HTTP."""

from runyard.kernel.errors import Conflict, FailedPrecondition, NotFound


class ConfigurationNotFound(NotFound):
    """There is no such configuration version."""

    code = "configuration_not_found"


class ConfigurationTaken(Conflict):
    """The configuration version was uploaded already."""

    code = "configuration_taken"


class ConfigurationNotReady(FailedPrecondition):
    """The configuration version has no code that could be run."""

    code = "configuration_not_ready"
