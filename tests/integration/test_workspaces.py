"""Workspaces and their line of runs over both databases: names, search, locks, order."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.executions.model import Status
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService
from runyard.infrastructure.runs.drift import DriftService
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.model import NewRun, Origin, Run, RunKind, RunQuery, RunStatus, Trigger
from runyard.infrastructure.runs.pushes import Push, PushService
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.workspaces.errors import (
    WorkspaceExists,
    WorkspaceLocked,
    WorkspaceNotFound,
    WorkspaceNotLocked,
)
from runyard.infrastructure.workspaces.model import (
    Code,
    Match,
    NewWorkspace,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
)
from runyard.infrastructure.workspaces.schedule import InvalidSchedule
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument, PermissionDenied
from tests.support.infrastructure import Neighbours


@dataclass
class Parts:
    """The services over one database."""

    caller: Principal
    identity: IdentityService
    executions: ExecutionService
    workspaces: WorkspaceService
    runs: RunService
    line: RunLine

    async def made(self, name: str, **more: object) -> Workspace:
        """Add a workspace."""
        return await self.workspaces.create(self.caller, NewWorkspace(name=name, **more))  # type: ignore[arg-type]


@pytest.fixture
async def parts(database: Database, tmp_path: Path) -> AsyncIterator[Parts]:
    """Put the services together; no worker takes what they offer."""
    identity = IdentityService(database)
    await identity.bootstrap("admin-token-for-tests")
    output = OutputLog(tmp_path / "output")
    executions = ExecutionService(database, output)
    workspaces = WorkspaceService(database, identity)
    line = RunLine(database, executions, workspaces, 4)
    runs = RunService(database, executions, workspaces, line, Vault(tmp_path / "keys"), Neighbours())
    caller = await identity.system_principal()
    yield Parts(caller, identity, executions, workspaces, runs, line)
    await executions.stop(1)


async def test_creations_at_once_with_one_name_make_one(parts: Parts) -> None:
    """Of ten at once one wins, and the others hear why."""
    ends = await asyncio.gather(*(parts.made("net-prod") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(end, Workspace) for end in ends) == 1
    refused = [end for end in ends if isinstance(end, BaseException)]
    assert all(isinstance(end, WorkspaceExists) and "already exists" in str(end) for end in refused)


async def test_workspace_is_found_by_both_ids_and_not_from_elsewhere(parts: Parts) -> None:
    """Both ids lead to it, from its own account only; a changed name leaves the identifier as it was."""
    made = await parts.made("acme/infra/net", labels=["b", "a"], code=Code(working_directory="/net"))
    assert made.identifier == "acme_infra_net"
    for reference in (made.id, made.record_id):
        assert await parts.workspaces.get(parts.caller.scope, reference) == made
    _, token = await parts.identity.create_account("other", "Other")
    stranger = await parts.identity.authenticate(token)
    with pytest.raises(WorkspaceNotFound):
        await parts.workspaces.get(stranger.scope, made.id)
    with pytest.raises(WorkspaceNotFound):
        await parts.workspaces.update(stranger, made.id, WorkspaceChanges(name="mine"))
    changed = await parts.workspaces.update(
        parts.caller, made.record_id, WorkspaceChanges(name="net", branch="dev")
    )
    assert (changed.name, changed.identifier, changed.code.branch) == ("net", "acme_infra_net", "dev")
    assert (changed.labels, changed.code.working_directory) == (("b", "a"), "/net")
    again = await parts.made("acme/infra/net")
    assert again.identifier.startswith("acme_infra_net_")


@pytest.mark.parametrize("length", [7, 24, 36])
async def test_workspace_is_looked_up_by_id_or_by_a_name_of_any_length(parts: Parts, length: int) -> None:
    """A name as long as an id is a name nevertheless; what is nowhere is named in the refusal."""
    made = await parts.made("n" * length)
    for reference in (made.id, made.record_id, made.name):
        assert await parts.workspaces.look_up(parts.caller.scope, reference) == made
    with pytest.raises(WorkspaceNotFound, match=r"workspace 'nope' not found"):
        await parts.workspaces.look_up(parts.caller.scope, "nope")


async def test_who_may_not_approve_lets_no_workspace_apply_by_itself(parts: Parts) -> None:
    """Else the rule would approve for them whatever they plan."""
    some = {Permission.WORKSPACES_READ, Permission.WORKSPACES_WRITE, Permission.WORKSPACES_RUN}
    planner = replace(parts.caller, permissions=frozenset(some))
    with pytest.raises(PermissionDenied, match="workspaces:approve"):
        await parts.workspaces.create(planner, NewWorkspace(name="own", apply_rule="auto"))
    made = await parts.workspaces.create(planner, NewWorkspace(name="own"))
    with pytest.raises(PermissionDenied, match="workspaces:approve"):
        await parts.workspaces.update(planner, made.id, WorkspaceChanges(apply_rule="auto"))
    await parts.workspaces.update(parts.caller, made.id, WorkspaceChanges(apply_rule="auto"))
    changed = await parts.workspaces.update(
        planner, made.id, WorkspaceChanges(apply_rule="auto", description="x")
    )
    assert changed.description == "x", "what it is already it may stay"


async def test_search_combines_lists_text_and_any_of(parts: Parts) -> None:
    """Any of a list, all members together; `any_of` asks for one of its members; special characters are plain."""
    await parts.made(
        "net-prod", labels=["prod", "net"], code=Code(repository="acme/infra", vcs_type="github")
    )
    await parts.made("net-dev", labels=["dev"], code=Code(repository="acme/infra", vcs_type="gitlab"))
    await parts.made("ci_100%", labels=["production"], runner_type="jenkins")

    async def names(**query: object) -> list[str]:
        found = await parts.workspaces.search(parts.caller.scope, WorkspaceQuery(**query))  # type: ignore[arg-type]
        return [one.name for one in found]

    assert await names() == ["ci_100%", "net-dev", "net-prod"]
    assert await names(match=Match(labels=["prod"])) == ["net-prod"]
    assert await names(match=Match(repositories=["acme/infra"], vcs_types=["gitlab"])) == ["net-dev"]
    assert await names(any_of=Match(names=["net-dev"], runner_types=["jenkins"])) == ["ci_100%", "net-dev"]
    assert await names(any_of=Match()) == []
    assert await names(match=Match(managed=False)) == ["ci_100%"]
    assert await names(text="0%") == ["ci_100%"]
    assert await names(text="PROD", sort=[("name", True)]) == ["ci_100%", "net-prod"]
    assert await names(limit=1, offset=1) == ["net-dev"]
    assert await parts.workspaces.labels(parts.caller.scope) == ["dev", "net", "prod", "production"]


async def test_lock_keeps_runs_back_until_it_is_gone(parts: Parts) -> None:
    """A run that was asked for under a lock waits, and begins with the unlock."""
    made = await parts.made("locked")
    await parts.workspaces.lock(parts.caller, made.id, "maintenance")
    with pytest.raises(WorkspaceLocked, match="maintenance"):
        await parts.workspaces.lock(parts.caller, made.id)
    run = await parts.runs.create(parts.caller, made.id, NewRun())
    assert run.status is RunStatus.PENDING
    task = await parts.executions.get(parts.caller.scope, run.plan_task_id)
    assert task.status is Status.WAITING
    await parts.workspaces.unlock(parts.caller, made.id)
    with pytest.raises(WorkspaceNotLocked):
        await parts.workspaces.unlock(parts.caller, made.id)
    await parts.line.advance(made.id)
    assert (await parts.runs.get(parts.caller.scope, run.id)).status is RunStatus.PLANNING


async def test_runs_asked_for_at_once_go_one_by_one(parts: Parts) -> None:
    """One begins and the others wait in line; a cancelled one makes room for the next."""
    made = await parts.made("busy")
    runs = await asyncio.gather(*(parts.runs.create(parts.caller, made.id, NewRun()) for _ in range(5)))

    async def now() -> list[Run]:
        return [await parts.runs.get(parts.caller.scope, run.id) for run in runs]

    async def statuses() -> list[str]:
        return [run.status.value for run in await now()]

    async def with_status(status: RunStatus) -> list[Run]:
        return [run for run in await now() if run.status is status]

    assert sorted(await statuses()) == ["pending"] * 4 + ["planning"]
    (first,) = await with_status(RunStatus.PLANNING)
    await parts.runs.cancel(parts.caller, first.id)
    assert sorted(await statuses()) == ["cancelled"] + ["pending"] * 3 + ["planning"]
    # Ended through the ledger itself: the line notices.
    pending = await with_status(RunStatus.PENDING)
    await parts.executions.cancel(parts.caller.scope, pending[0].plan_task_id, actor="somebody")
    await parts.line.scan()
    assert sorted(await statuses()) == ["cancelled"] * 2 + ["pending"] * 2 + ["planning"]


async def test_newer_push_supersedes_older_ones_of_its_branch(parts: Parts) -> None:
    """What waits for an older push is discarded; other branches and people's runs stay."""
    made = await parts.made("pushed")
    await parts.workspaces.lock(parts.caller, made.id)

    def push(branch: str) -> NewRun:
        return NewRun(kind=RunKind.APPLY, trigger=Trigger.PUSH, origin=Origin(branch=branch))

    older = await parts.runs.create(parts.caller, made.id, push("main"))
    other = await parts.runs.create(parts.caller, made.id, push("dev"))
    person = await parts.runs.create(parts.caller, made.id, NewRun(origin=Origin(branch="main")))
    newer = await parts.runs.create(parts.caller, made.id, push("main"))
    proposed = NewRun(trigger=Trigger.PULL_REQUEST, origin=Origin(branch="main"))
    await parts.runs.create(parts.caller, made.id, proposed)  # of a fork whose branch is called so too
    found = [
        (await parts.runs.get(parts.caller.scope, run.id)).status.value
        for run in (older, other, person, newer)
    ]
    assert found == ["discarded", "pending", "pending", "pending"]
    task = await parts.executions.get(parts.caller.scope, older.plan_task_id)
    assert task.status is Status.CANCELED
    assert (await parts.workspaces.get(parts.caller.scope, made.id)).runs_count == 5


async def test_destruction_that_would_be_refused_gives_nothing_up(parts: Parts) -> None:
    """Who may not approve hears so before the runs that wait are discarded."""
    made = await parts.made("kept")
    await parts.workspaces.lock(parts.caller, made.id)
    waiting = await parts.runs.create(parts.caller, made.id, NewRun())
    may = frozenset({Permission.WORKSPACES_WRITE, Permission.WORKSPACES_RUN})
    with pytest.raises(PermissionDenied):
        await parts.runs.delete_workspace(replace(parts.caller, permissions=may), made.id, destroy=True)
    assert (await parts.runs.get(parts.caller.scope, waiting.id)).status is RunStatus.PENDING


async def test_schedules_make_one_plan_each_time(parts: Parts, database: Database) -> None:
    """A workspace's own schedule wins over its projects'; of two servers one asks; one waiting plan is enough; a
    schedule that is taken away asks no more.
    """
    clock = [datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)]
    crons: dict[str, str] = {}

    class Projects:
        async def project_crons(self) -> dict[str, str]:
            return crons

    servers = [DriftService(database, parts.runs, Projects(), now=lambda: clock[0]) for _ in range(2)]
    own = await parts.made("own", cron="*/10 * * * *")
    other = await parts.made("other")
    external = await parts.made("external", runner_type="jenkins", cron="* * * * *")
    crons[parts.caller.scope.project_path] = "5 * * * *"
    await servers[0].refresh()
    assert await servers[0].look() == 0
    clock[0] = datetime(2026, 1, 1, 12, 10, 1, tzinfo=UTC)
    assert sum(await asyncio.gather(*(server.look() for server in servers))) == 2
    clock[0] = datetime(2026, 1, 1, 13, 30, 1, tzinfo=UTC)
    await parts.workspaces.lock(parts.caller, own.id)
    assert await servers[0].look() == 2
    clock[0] = datetime(2026, 1, 1, 15, 30, 1, tzinfo=UTC)
    assert await servers[0].look() == 0, "both have one in line"
    found = await parts.runs.search(parts.caller.scope, RunQuery(workspace_id=other.id))
    assert {(run.trigger, run.kind, run.title, run.actor) for run in found} == {
        (Trigger.SCHEDULE, RunKind.PLAN, "Drift detection", "schedule")
    }
    assert not await parts.runs.search(parts.caller.scope, RunQuery(workspace_id=external.id))
    crons.clear()
    await parts.workspaces.update(parts.caller, own.id, WorkspaceChanges(cron=""))
    await servers[1].refresh()
    clock[0] = datetime(2026, 1, 2, tzinfo=UTC)
    assert await servers[0].look() == 0
    with pytest.raises(InvalidSchedule):
        await parts.workspaces.update(parts.caller, own.id, WorkspaceChanges(cron="every day"))


async def test_push_starts_the_runs_that_want_it(parts: Parts) -> None:
    """By repository, branch and trigger; a merge applies by the workspace's rule, a pull request only plans."""
    code = Code(repository="acme/infra", branch="main", vcs_type="github")
    wants = await parts.made("wants", code=code, triggers=["push", "pull_request"], apply_rule="auto")
    await parts.made("other-branch", code=Code(repository="acme/infra", branch="dev"), triggers=["push"])
    await parts.made("other-trigger", code=code, triggers=["merge"])
    await parts.made("elsewhere", code=code, triggers=["push"], runner_type="jenkins")
    pushes = PushService(parts.runs)
    push = Push(
        event=Trigger.PUSH, repository="acme/infra", branch="main", commit="a" * 40, title="Add a net"
    )
    (run,) = await pushes.happened(parts.caller, push)
    assert (run.workspace_id, run.kind, run.auto_apply, run.title) == (
        wants.id,
        RunKind.APPLY,
        True,
        "Add a net",
    )
    proposal = Push(
        event=Trigger.PULL_REQUEST,
        repository="acme/infra",
        branch="main",
        source_branch="topic",
        pull_request_id="7",
    )
    (older,) = await pushes.happened(parts.caller, proposal)
    (newer,) = await pushes.happened(parts.caller, proposal)
    assert (newer.kind, newer.origin.branch, newer.origin.pull_request_id) == (RunKind.PLAN, "topic", "7")
    assert (await parts.runs.get(parts.caller.scope, older.id)).status is RunStatus.DISCARDED
    with pytest.raises(InvalidArgument):
        await pushes.happened(parts.caller, Push(event=Trigger.CLI, repository="acme/infra", branch="main"))
