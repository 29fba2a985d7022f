"""Errors of integrations. Owns their codes; no HTTP."""

from runyard.kernel.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


class IntegrationNotFound(NotFound):
    """Integration not found."""

    code = "integration_not_found"

    def __init__(self, reference: str = "") -> None:
        """Name what was asked for."""
        super().__init__(f"integration '{reference[:200]}' not found" if reference else None)


class RepositoryNotFound(NotFound):
    """Repository or branch not found."""

    code = "repository_not_found"


class IntegrationExists(AlreadyExists):
    """An integration with this name already exists."""

    code = "integration_exists"


class InvalidIntegration(InvalidArgument):
    """The integration is not valid."""

    code = "invalid_integration"


class RepositoryRefused(FailedPrecondition):
    """This repository may not be read by this server."""

    code = "repository_refused"
