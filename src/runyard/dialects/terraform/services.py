"""What the Terraform door needs of the house. The composition root hands over anything that has these."""

import asyncio
from typing import Protocol

from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.infrastructure.configurations.service import ConfigurationService
from runyard.infrastructure.oidc.service import OidcService
from runyard.infrastructure.plans.service import PlanService
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.state.grants import GrantService
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.state.service import StateService
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.crypto import Vault


class TerraformServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users and tokens."""
        ...

    @property
    def tenancy(self) -> TenancyService:
        """Accounts and projects by their slugs."""
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
    def projects(self) -> ProjectService:
        """Projects with their settings."""
        ...

    @property
    def plans(self) -> PlanService:
        """What runs planned."""
        ...

    @property
    def variables(self) -> VariableService:
        """Variables of workspaces."""
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
    def grants(self) -> GrantService:
        """Credentials of runs."""
        ...

    @property
    def configurations(self) -> ConfigurationService:
        """Code that clients upload."""
        ...

    @property
    def oidc(self) -> OidcService:
        """The OpenID provider."""
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
    def vault(self) -> Vault:
        """Seals what addresses carry."""
        ...

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the server begins to stop."""
        ...

    @property
    def public_url(self) -> str | None:
        """The address under which clients reach the server; None means whatever they asked for."""
        ...
