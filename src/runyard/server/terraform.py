"""What stands behind the Terraform door, of the whole house. Owns nothing: it names the services once."""

import asyncio
from dataclasses import dataclass

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
from runyard.server.house import House


@dataclass(frozen=True, kw_only=True)
class TerraformHouse:
    """All services behind the Terraform door."""

    identity: IdentityService
    tenancy: TenancyService
    workspaces: WorkspaceService
    runs: RunService
    projects: ProjectService
    plans: PlanService
    variables: VariableService
    states: StateService
    locks: LockService
    grants: GrantService
    configurations: ConfigurationService
    oidc: OidcService
    executions: ExecutionService
    output: OutputLog
    vault: Vault
    stopping: asyncio.Event
    public_url: str | None


def terraform_house(house: House) -> TerraformHouse:
    """Name the services of the Terraform door."""
    wing = house.infrastructure
    kept = wing.kept
    return TerraformHouse(
        identity=house.identity,
        tenancy=TenancyService(house.database),
        workspaces=wing.workspaces,
        runs=wing.runs,
        projects=wing.projects,
        plans=wing.guards.plans,
        variables=wing.variables,
        states=kept.states,
        locks=kept.locks,
        grants=kept.grants,
        configurations=kept.configurations,
        oidc=kept.oidc,
        executions=house.executions,
        output=house.output,
        vault=wing.vault,
        stopping=house.stopping,
        public_url=house.settings.public_url,
    )
