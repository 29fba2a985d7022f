"""The composition of what runs plans and applies. A part of infrastructure's wing; a list like the others."""

from collections.abc import Mapping
from dataclasses import dataclass

from runyard.infrastructure.provisioner.box import Boxes
from runyard.infrastructure.provisioner.git import Git
from runyard.infrastructure.provisioner.planfiles import PlanFiles
from runyard.infrastructure.provisioner.plugins import PluginCache
from runyard.infrastructure.provisioner.tools import Tools
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.ports import (
    Judge,
    Oidc,
    Plans,
    Repositories,
    State,
    Variables,
)
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.runs.source import Sources
from runyard.infrastructure.runs.worker import Parts, RunWorker, WorkerOptions
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.blobs import BlobStore
from runyard.server import options
from runyard.server.actions import Shared
from runyard.server.inside import Inside
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The parts of infrastructure that runs use, each behind its port."""

    variables: Variables
    repositories: Repositories
    state: State
    plans: Plans
    judge: Judge
    oidc: Oidc


@dataclass(frozen=True, kw_only=True)
class RunHouse:
    """What runs plans and applies."""

    worker: RunWorker
    boxes: Boxes
    sources: Sources
    tools: Tools
    inside: Inside
    git: Git

    def start(self) -> None:
        """Take work; before the ledger offers what was left of it."""
        self.git.start()
        self.sources.start()
        self.worker.register()


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is made before."""

    workspaces: WorkspaceService
    line: RunLine
    git: Git
    archives: Mapping[str, BlobStore]
    runs: RunService


def make_runs(settings: Settings, shared: Shared, given: Given, around: Neighbours) -> RunHouse:
    """Put together what runs plans and applies."""
    folder, chosen = settings.data_dir, settings.infrastructure
    inside = Inside()
    boxes = Boxes(shared.engine, options.run_box_options(settings), inside)
    tools = Tools(options.tools_folder(settings), folder / "tool-copies")
    ways = folder / "ways"
    sources = Sources(
        ways, given.git, around.repositories, given.archives, around.plans, chosen.archive_bytes
    )
    parts = Parts(
        database=shared.database,
        executions=shared.executions,
        workspaces=given.workspaces,
        line=given.line,
        boxes=boxes,
        tools=tools,
        sources=sources,
        plan_files=PlanFiles(folder / "plans", shared.vault),
        variables=around.variables,
        state=around.state,
        plans=around.plans,
        judge=around.judge,
        oidc=around.oidc,
        own_variables=given.runs.variables,
        plugins=PluginCache(folder / "providers"),
    )
    worker = RunWorker(
        parts,
        WorkerOptions(
            folder=ways,
            command_secs=chosen.command_timeout_secs,
            run_secs=chosen.run_timeout_secs,
            window=options.approval_window(settings),
        ),
    )
    return RunHouse(worker=worker, boxes=boxes, sources=sources, tools=tools, inside=inside, git=given.git)
