"""Errors of projects. Owns their codes; no HTTP."""

from runyard.kernel.errors import AlreadyExists, Conflict, InvalidArgument


class ProjectExists(AlreadyExists):
    """A project with this name already exists here."""

    code = "project_exists"


class ProjectInUse(Conflict):
    """Something still hangs on this project."""

    code = "project_in_use"


class InvalidProject(InvalidArgument):
    """The project is not valid."""

    code = "invalid_project"
