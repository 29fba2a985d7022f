"""What runs need of states: access for their tool, who holds a lock, and its end. Implements the port of runs."""

from runyard.infrastructure.runs.model import Run
from runyard.infrastructure.runs.ports import BackendAccess
from runyard.infrastructure.state.grants import USER_NAME, GrantService
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.workspaces.model import Workspace

PATH = "/terraform/state/{workspace}"
"""Of the `http` backend on this server."""


class StateAccess:
    """The states of workspaces, for runs."""

    def __init__(self, grants: GrantService, locks: LockService) -> None:
        """Take the services."""
        self._grants = grants
        self._locks = locks

    async def backend(self, workspace: Workspace, run: Run, phase: str) -> BackendAccess:
        """Give a run access to the state of its workspace: a plan reads and locks, an apply writes too."""
        secret = await self._grants.make(workspace, run.id, run.actor, writes=phase == "apply")
        path = PATH.format(workspace=workspace.id)
        return BackendAccess(path=path, username=USER_NAME, password=secret)

    async def locked_by(self, workspace: Workspace) -> str | None:
        """Tell who holds the state's lock, None when nobody does."""
        lock = await self._locks.holder(workspace.id)
        return None if lock is None else lock.document()["Who"]

    async def release(self, run: Run) -> None:
        """Take the access of a run away and release the state's lock if this run holds it; idempotent."""
        await self._locks.release_run(run.id)
