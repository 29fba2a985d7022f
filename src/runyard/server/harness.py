"""What stands behind the Harness door, of the whole house. Owns nothing: it names the services once."""

import asyncio
from dataclasses import dataclass

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
from runyard.server.house import House


@dataclass(frozen=True, kw_only=True)
class HarnessHouse:
    """All services behind the Harness door."""

    identity: IdentityService
    tenancy: TenancyService
    executions: ExecutionService
    output: OutputLog
    workspaces: WorkspaceService
    runs: RunService
    projects: ProjectService
    variables: VariableService
    variable_sets: VariableSetService
    states: StateService
    locks: LockService
    remote: RemoteExecutionService
    stopping: asyncio.Event
    public_url: str | None


def harness_house(house: House) -> HarnessHouse:
    """Name the services of the Harness door."""
    wing = house.infrastructure
    return HarnessHouse(
        identity=house.identity,
        tenancy=TenancyService(house.database),
        executions=house.executions,
        output=house.output,
        workspaces=wing.workspaces,
        runs=wing.runs,
        projects=wing.projects,
        variables=wing.variables,
        variable_sets=wing.variable_sets,
        states=wing.kept.states,
        locks=wing.kept.locks,
        remote=wing.remote,
        stopping=house.stopping,
        public_url=house.settings.public_url,
    )
