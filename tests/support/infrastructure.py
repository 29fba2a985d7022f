"""Infrastructure for tests: its services over one database, with a state backend, guardrails and variables of our own.

`StateApp` is the `http` backend as Terraform speaks to it, in memory; `FakeTool` writes a program that behaves as told.
"""

import asyncio
import base64
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from runyard.database.engine import Database, Transaction
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.infrastructure.provisioner.box import Boxes, BoxOptions
from runyard.infrastructure.provisioner.git import Git
from runyard.infrastructure.provisioner.planfiles import PlanFiles
from runyard.infrastructure.provisioner.plugins import PluginCache
from runyard.infrastructure.provisioner.tools import Tools
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.model import Block, NewRun, Run, RunStatus
from runyard.infrastructure.runs.ports import (
    BackendAccess,
    PlanSummary,
    RepositoryAccess,
    Resolved,
    Verdict,
)
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.runs.source import Sources
from runyard.infrastructure.runs.worker import Parts, RunWorker, WorkerOptions
from runyard.infrastructure.workspaces.model import Code, NewWorkspace, Workspace
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId
from runyard.runtimes.isolation.engine import Engine, Network
from runyard.server.inside import Inside

TERRAFORM = shutil.which("terraform")
WAITING = 60.0


class StateApp:
    """States and their locks, by path."""

    def __init__(self) -> None:
        """Start empty."""
        self.states: dict[str, bytes] = {}
        self.locks: dict[str, dict[str, Any]] = {}
        self.passwords: dict[str, str] = {}
        self.released: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, answer = self._answer(scope, body)
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        path, headers = scope["path"], dict(scope["headers"])
        given = base64.b64decode(headers.get(b"authorization", b"").removeprefix(b"Basic ") or b"").decode()
        if given.partition(":")[2] not in self.passwords:
            return 401, b""
        match scope["method"]:
            case "GET":
                return (200, self.states[path]) if path in self.states else (204, b"")
            case "POST":
                self.states[path] = body
                return 200, b""
            case "LOCK":
                if path in self.locks:
                    return 423, json.dumps(self.locks[path]).encode()
                self.locks[path] = json.loads(body)
                return 200, b""
            case "UNLOCK":
                self.locks.pop(path, None)
                return 200, b""
        return 405, b""

    async def backend(self, workspace: Workspace, run: Run, phase: str) -> BackendAccess:
        """Give access, for a while."""
        password = f"pass-{phase}-{run.id}"
        self.passwords[password] = f"/state/{workspace.id}"
        return BackendAccess(path=f"/state/{workspace.id}", username="run", password=password)

    async def locked_by(self, workspace: Workspace) -> str | None:
        """Tell who holds it."""
        found = self.locks.get(f"/state/{workspace.id}")
        return None if found is None else str(found.get("Who"))

    async def release(self, run: Run) -> None:
        """Take everything away."""
        self.released.append(run.id)
        self.locks.pop(f"/state/{run.workspace_id}", None)
        for password in [one for one in self.passwords if one.endswith(run.id)]:
            del self.passwords[password]


@dataclass
class Neighbours:
    """Stands for variables, plans, guardrails, tokens, repositories; says what it is told and keeps what it hears."""

    resolved: Resolved = field(default_factory=Resolved)
    verdict: Verdict = field(default_factory=Verdict)
    access_url: str = ""
    plans: list[Any] = field(default_factory=list)
    diffs: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    acknowledged_by: list[str] = field(default_factory=list)

    async def resolve(self, workspace: Workspace) -> Resolved:
        """Return the variables."""
        return self.resolved

    async def ingest(
        self, workspace: Workspace, run: Run, show_json: Path, secrets: Sequence[str] = ()
    ) -> PlanSummary:
        """Read the actions."""
        try:
            document = json.loads(show_json.read_bytes())
        except ValueError:
            raise InvalidArgument("the plan cannot be read") from None
        self.plans.append(document)
        actions = [one["change"]["actions"] for one in document.get("resource_changes", [])]
        counts = {
            "add": sum("create" in one for one in actions),
            "change": sum(one == ["update"] for one in actions),
            "destroy": sum("delete" in one for one in actions),
        }
        return PlanSummary(has_changes=any(counts.values()), counts=counts)

    async def mark_applied(self, run: Run, lines: Iterable[bytes]) -> None:
        """Keep the lines."""
        self.lines += list(lines)

    async def keep_changed_files(
        self, workspace: Workspace, run: Run, patch: bytes, checkout: Path, secrets: Sequence[str] = ()
    ) -> None:
        """Keep the patch."""
        self.diffs.append(patch)

    async def judge(self, workspace: Workspace, run: Run, show_json: Path) -> Verdict:
        """Return the verdict."""
        return self.verdict

    async def acknowledge(self, tx: Transaction, caller: Principal, workspace: Workspace, run: Run) -> None:
        """Keep who."""
        self.acknowledged_by.append(caller.actor)

    async def token(self, workspace: Workspace, run: Run, phase: str) -> str | None:
        """Return none."""
        return None

    async def access(self, workspace: Workspace) -> RepositoryAccess:
        """Return the address."""
        return RepositoryAccess(url=self.access_url)


@dataclass(kw_only=True)
class Site:
    """Everything, put together."""

    database: Database
    caller: Principal
    executions: ExecutionService
    workspaces: WorkspaceService
    runs: RunService
    line: RunLine
    state: StateApp
    around: Neighbours
    archives: BlobStore
    tools_folder: Path

    async def workspace(self, name: str = "net", **more: Any) -> Workspace:
        """Add a workspace, for Terraform unless something else is said."""
        given: dict[str, Any] = {"iac_type": "terraform", **more}
        new = NewWorkspace(name=name, code=Code(branch="main"), **given)
        return await self.workspaces.create(self.caller, new)

    async def run(self, workspace: Workspace, *, until: Sequence[RunStatus] = (), **more: Any) -> Run:
        """Ask for a run and wait until it is over, waits for a person, or is where it is wanted."""
        made = await self.runs.create(self.caller, workspace.id, NewRun(**more))
        return await self.until(made, until)

    async def until(self, run: Run, statuses: Sequence[RunStatus] = ()) -> Run:
        """Wait until a run is over, waits for a person, or is where it is wanted."""
        topic = f"run:{run.id}"
        with self.database.broker.subscribe(topic) as events:
            async with asyncio.timeout(WAITING):
                while True:
                    found = await self.runs.get(self.caller.scope, run.id)
                    waits = found.waits and not (found.auto_apply and found.block is Block.NONE)
                    arrived = found.status in statuses if statuses else found.ended or waits
                    if arrived:
                        return found
                    await events.next()

    async def output(self, task_id: str) -> str:
        """Return the whole output of a task, after its end."""
        await self.executions.wait(self.caller.scope, ExecutionId(task_id))
        chunks = await self.executions.output.read(ExecutionId(task_id))
        return b"".join(chunk.data for chunk in chunks).decode("utf-8", "replace")


async def open_site(
    stack: AsyncExitStack, database: Database, engine: Engine, folder: Path, **limits: Any
) -> Site:
    """Put everything together; the stack ends it."""
    identity = IdentityService(database)
    await identity.bootstrap("admin-token-for-tests")
    caller = await identity.system_principal()
    output = OutputLog(folder / "output")
    executions = ExecutionService(database, output)
    workspaces = WorkspaceService(database, identity)
    around, state, vault = Neighbours(), StateApp(), Vault(folder / "keys")
    line = RunLine(database, executions, workspaces, 4)
    runs = RunService(database, executions, workspaces, line, vault, around)
    archives = BlobStore(folder / "archives")
    tools_folder = folder / "tools"
    parts = _parts(
        stack,
        folder,
        engine,
        archives,
        Given(database, executions, workspaces, line, runs, vault),
        around,
        state,
    )
    options = WorkerOptions(
        folder=folder / "ways",
        **{"command_secs": 30.0, "run_secs": 60.0, "window": timedelta(hours=48), **limits},
    )
    RunWorker(parts, options).register()
    await executions.recover()
    stack.push_async_callback(executions.stop, 5)
    await line.start()
    stack.push_async_callback(line.stop)
    return Site(
        database=database,
        caller=caller,
        executions=executions,
        workspaces=workspaces,
        runs=runs,
        line=line,
        state=state,
        around=around,
        archives=archives,
        tools_folder=tools_folder,
    )


@dataclass
class Given:
    """What the worker uses of the services."""

    database: Database
    executions: ExecutionService
    workspaces: WorkspaceService
    line: RunLine
    runs: RunService
    vault: Vault


def _parts(
    stack: AsyncExitStack,
    folder: Path,
    engine: Engine,
    archives: BlobStore,
    given: Given,
    around: Neighbours,
    state: StateApp,
) -> Parts:
    inside = Inside()
    inside.app = state
    boxes = Boxes(engine, BoxOptions(network=Network.NONE, interrupt_grace_secs=0.5), inside)
    stack.callback(boxes.close)
    git = Git(folder / "git", local_roots=[folder / "repositories"])
    sources = Sources(folder / "ways", git, around, {"remote": archives}, around, 1 << 30)
    sources.start()

    return Parts(
        database=given.database,
        executions=given.executions,
        workspaces=given.workspaces,
        line=given.line,
        boxes=boxes,
        tools=Tools(folder / "tools", folder / "copies"),
        sources=sources,
        plan_files=PlanFiles(folder / "plans", given.vault),
        variables=around,
        state=state,
        plans=around,
        judge=around,
        oidc=around,
        own_variables=given.runs.variables,
        plugins=PluginCache(folder / "providers"),
    )


def fake_tool(
    folder: Path, cases: Mapping[str, str], version: str = "9.9.9", program: str = "terraform"
) -> None:
    """Install a fake tool of that version: a shell script with one piece for each verb."""
    path = folder / program / version / program
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {**_USUAL, **cases}
    arms = "\n".join(f"{verb})\n{text}\n;;" for verb, text in given.items())
    path.write_text(f'#!/bin/sh\nverb="$1"\ncase "$verb" in\n{arms}\nesac\n')
    path.chmod(0o755)


_PLANNED = json.dumps(
    {
        "format_version": "1.2",
        "terraform_version": "9.9.9",
        "resource_changes": [
            {
                "address": "terraform_data.a",
                "mode": "managed",
                "type": "terraform_data",
                "name": "a",
                "provider_name": "terraform.io/builtin/terraform",
                "change": {
                    "actions": ["create"],
                    "before": None,
                    "after": {"input": "x"},
                    "after_unknown": {},
                },
            }
        ],
    }
)
_USUAL = {
    "init": 'mkdir -p "$TF_DATA_DIR"\nprintf \'{"backend":{"type":"http"}}\' > "$TF_DATA_DIR/terraform.tfstate"\n'
    "echo initialized",
    "plan": 'for one in "$@"; do case "$one" in -out=*) echo plan > "${one#-out=}";; esac; done\n'
    "echo planned $*\nexit 2",
    "show": f"cat <<'END'\n{_PLANNED}\nEND",
    "apply": "echo applied $*",
    "state": "echo pushed",
}
