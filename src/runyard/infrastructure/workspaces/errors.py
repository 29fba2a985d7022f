"""Errors of workspaces. Owns their codes; no HTTP."""

from runyard.kernel.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, NotFound


class WorkspaceNotFound(NotFound):
    """Workspace not found."""

    code = "workspace_not_found"

    def __init__(self, reference: str = "") -> None:
        """Name what was asked for."""
        super().__init__(f"workspace '{reference[:200]}' not found" if reference else None)


class WorkspaceExists(AlreadyExists):
    """A workspace with this name already exists."""

    code = "workspace_exists"


class InvalidWorkspace(InvalidArgument):
    """The workspace is not valid."""

    code = "invalid_workspace"


class WorkspaceLocked(Conflict):
    """The workspace is locked."""

    code = "workspace_locked"


class WorkspaceNotLocked(FailedPrecondition):
    """The workspace is not locked."""

    code = "workspace_not_locked"


class WorkspaceBusy(Conflict):
    """A run of the workspace is not over yet."""

    code = "workspace_busy"
