"""The composition of infrastructure: its services over the shared parts. A wing of the house, like that of actions."""

from dataclasses import dataclass

from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.server.actions import Shared
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class InfrastructureHouse:
    """All services of infrastructure; the Firefly, Harness and Terraform doors stand before them."""

    workspaces: WorkspaceService
    runs: RunService
    line: RunLine


def make_infrastructure(settings: Settings, shared: Shared) -> InfrastructureHouse:
    """Put the services of infrastructure together."""
    workspaces = WorkspaceService(shared.database, shared.identity)
    line = RunLine(shared.database, shared.executions, workspaces, settings.infrastructure.runs_at_once)
    runs = RunService(shared.database, shared.executions, workspaces, line, shared.vault)
    return InfrastructureHouse(workspaces=workspaces, runs=runs, line=line)
