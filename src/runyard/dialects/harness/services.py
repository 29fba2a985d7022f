"""What the Harness door needs of the house. The composition root hands over anything that has these."""

import asyncio
from typing import Protocol

from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.remote.service import RemoteExecutionService
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.state.service import StateService
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.variables.sets import VariableSetService
from runyard.infrastructure.workspaces.service import WorkspaceService


class HarnessServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users, projects and tokens."""
        ...

    @property
    def tenancy(self) -> TenancyService:
        """The tree of projects as two levels."""
        ...

    @property
    def executions(self) -> ExecutionService:
        """The ledger."""
        ...

    @property
    def output(self) -> OutputLog:
        """The output logs."""
        ...

    @property
    def workspaces(self) -> WorkspaceService:
        """Workspaces."""
        ...

    @property
    def runs(self) -> RunService:
        """Runs of workspaces."""
        ...

    @property
    def remote(self) -> RemoteExecutionService:
        """Remote executions."""
        ...

    @property
    def projects(self) -> ProjectService:
        """Projects with their settings."""
        ...

    @property
    def variables(self) -> VariableService:
        """Variables of workspaces."""
        ...

    @property
    def variable_sets(self) -> VariableSetService:
        """Variable sets."""
        ...

    @property
    def states(self) -> StateService:
        """Versions of states."""
        ...

    @property
    def locks(self) -> LockService:
        """Locks on states."""
        ...

    @property
    def public_url(self) -> str | None:
        """The address under which clients reach the server; None means whatever they asked for."""
        ...

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the server begins to stop."""
        ...
