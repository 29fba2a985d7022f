"""Runs of a fake `terraform` that behaves as told, and of the real one where it is there."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from runyard.database.engine import Database
from runyard.executions.model import Status
from runyard.infrastructure.provisioner.applylog import ApplyLines
from runyard.infrastructure.provisioner.box import Box, Boxes, Sink
from runyard.infrastructure.provisioner.plugins import PluginCache
from runyard.infrastructure.provisioner.trees import pack, working_folder
from runyard.infrastructure.runs import store
from runyard.infrastructure.runs.errors import CheckoutFailed, RunBlocked, RunNotReady, RunOver
from runyard.infrastructure.runs.external import ExternalService, NewReport
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.model import (
    Archive,
    Block,
    NewRun,
    Origin,
    Run,
    RunKind,
    RunQuery,
    RunStatus,
)
from runyard.infrastructure.runs.ports import BackendAccess, Resolved, Verdict
from runyard.infrastructure.workspaces.model import Workspace, WorkspaceChanges, WorkspaceQuery
from runyard.kernel.clock import utc_now
from runyard.kernel.ids import AccountId
from tests.support.engines import make_engine
from tests.support.infrastructure import Site, fake_tool, open_site
from tests.support.repositories import make_repository


def archive(files: dict[str, str]) -> bytes:
    """Pack files as a gzip tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, text in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(text.encode())
            packed.addfile(item, io.BytesIO(text.encode()))
    return buffer.getvalue()


def uploaded(site: Site, files: dict[str, str] | None = None) -> Origin:
    """Upload code."""
    return Origin(archive=Archive(blob=site.archives.put(archive(files or {"main.tf": ""}))))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Put everything together over SQLite and the engine that isolates nothing: for the fake tool."""
    async with AsyncExitStack() as stack:
        database = await Database.open(None, tmp_path)
        stack.push_async_callback(database.close)
        await database.create_all()
        engine = make_engine("process", tmp_path / "engine")
        await engine.start()
        stack.push_async_callback(engine.stop)
        yield await open_site(stack, database, engine, tmp_path, command_secs=1.0)


async def test_run_goes_from_plan_through_approval_to_apply(site: Site) -> None:
    """A manual apply waits with its plan, goes on when it is let, and leaves nothing behind."""
    fake_tool(site.tools_folder, {})
    made = await site.workspace()
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site), arguments=["--target", "a.b"])
    assert (run.status, run.waits, run.counts["add"]) == (RunStatus.PLAN_SUCCESS, True, 1)
    assert "-target=a.b" in await site.output(run.plan_task_id)
    with pytest.raises(RunNotReady):
        await site.runs.approve(site.caller, (await site.run(made, until=[RunStatus.PENDING])).id)
    both = await asyncio.gather(
        *(site.runs.approve(site.caller, run.id) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(one, Exception) for one in both) == 1
    done = await site.until(run)
    assert (done.status, done.held) == (RunStatus.APPLY_SUCCESS, False)
    assert "applied apply" in await site.output(str(done.apply_task_id))
    assert run.id in site.state.released
    with pytest.raises(RunOver):
        await site.runs.discard(site.caller, run.id)
    await asyncio.sleep(0)
    assert not list((site.tools_folder.parent / "plans").glob("*"))


async def test_approval_at_once_waits_until_the_box_of_the_plan_is_gone(site: Site) -> None:
    """A plan is decided on before its box ends: an apply in it, or files that are forgotten, would meet it living."""
    fake_tool(site.tools_folder, {})
    clear, real = asyncio.Event(), Boxes.serving

    @asynccontextmanager
    async def serving(self: Boxes, box: Box, path: str) -> AsyncIterator[str]:
        async with real(self, box, path) as address:
            yield address
        await clear.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Boxes, "serving", serving)
        run = await site.run(await site.workspace(), kind=RunKind.APPLY, origin=uploaded(site))
        assert run.status is RunStatus.PLAN_SUCCESS
        approved = await site.runs.approve(site.caller, run.id)
        await asyncio.sleep(0.2)
        assert (await site.runs.get(site.caller.scope, run.id)).status is RunStatus.PLAN_SUCCESS
        clear.set()
        assert (await site.until(approved)).status is RunStatus.APPLY_SUCCESS


@pytest.mark.parametrize(
    ("verb", "script", "status", "said"),
    [
        ("init", "echo no such provider >&2; exit 1", RunStatus.INIT_ERROR, "terraform init failed"),
        ("init", "mkdir -p $TF_DATA_DIR", RunStatus.INIT_ERROR, "state elsewhere"),
        (
            "init",
            (
                'mkdir -p $TF_DATA_DIR; printf \'{"backend":{"type":"http","config":{"address":"http://evil"}}}\''
                " > $TF_DATA_DIR/terraform.tfstate"
            ),
            RunStatus.INIT_ERROR,
            "state elsewhere",
        ),
        ("plan", "exit 1", RunStatus.PLAN_ERROR, "plan failed with status 1"),
        ("plan", "kill -9 $$", RunStatus.PLAN_ERROR, "signal 9"),
        ("show", "echo '{broken'", RunStatus.PLAN_ERROR, "cannot be read"),
        (
            "plan",
            "trap '' INT TERM; while :; do sleep 0.1; done",
            RunStatus.PLAN_ERROR,
            "longer than 1 seconds",
        ),
        ("plan", "exit 0", RunStatus.PLAN_ERROR, "left no plan"),
    ],
)
async def test_tool_that_misbehaves_ends_the_run_truthfully(
    site: Site, verb: str, script: str, status: RunStatus, said: str
) -> None:
    """Whatever the tool does, the run ends with the reason and the workspace is free."""
    fake_tool(site.tools_folder, {verb: script})
    made = await site.workspace()
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site))
    assert (run.status, run.held) == (status, False), run.reason
    assert said in str(run.reason)
    task = await site.executions.wait(site.caller.scope, run.plan_task_id)
    assert task.status is (Status.TIMEOUT if run.timed_out else Status.FAILED)
    assert run.timed_out == ("longer" in said)


async def test_secrets_do_not_show(site: Site) -> None:
    """Secrets that the tool or a provisioner prints are masked, as they are and as JSON writes them."""
    secret = 'pa"ss\\word-1'
    site.around.resolved = Resolved(
        environment={"TF_VAR_key": secret, "TF_DATA_DIR": "/elsewhere", "TF_CLI_ARGS": "-x"}, secrets=[secret]
    )
    script = 'printf "%s\\n" "$TF_VAR_key" "$TF_HTTP_PASSWORD" "${TF_CLI_ARGS:-none}"; printf \'{"v":"pa\\\\"ss\\\\\\\\word-1"}\'; exit 1'
    fake_tool(site.tools_folder, {"plan": script})
    run = await site.run(await site.workspace(), origin=uploaded(site))
    output = await site.output(run.plan_task_id)
    assert "word-1" not in output
    assert "pass-plan" not in output
    assert output.count("[masked]") == 3
    assert "none" in output


async def test_cancel_interrupts_first(site: Site) -> None:
    """The tool gets the interrupt, ends by itself, and the run is cancelled with its lock released."""
    fake_tool(
        site.tools_folder,
        {"plan": "trap 'echo interrupted; exit 1' INT; echo begun; while :; do sleep 0.05; done"},
    )
    made = await site.workspace()
    run = await site.run(made, until=[RunStatus.PLANNING], origin=uploaded(site))
    async with asyncio.timeout(10):
        async for part in site.executions.output.follow(run.plan_task_id):
            if b"begun" in part.data:
                break
    await site.runs.cancel(site.caller, run.id)
    done = await site.until(run)
    assert done.status is RunStatus.CANCELLED
    assert "interrupted" in await site.output(run.plan_task_id)
    assert run.id in site.state.released


async def test_guardrails_block_and_are_acknowledged(site: Site) -> None:
    """A strict violation ends the run; a flexible one waits for an administrator."""
    fake_tool(site.tools_folder, {})
    made = await site.workspace()
    site.around.verdict = Verdict(
        block=Block.STRICT, violations=[{"rule_name": "cost", "message": "too dear"}]
    )
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site), auto_apply=True)
    assert (run.status, run.ended) == (RunStatus.BLOCKED, True)
    assert "guardrail 'cost': plan: too dear" in await site.output(run.plan_task_id)
    with pytest.raises(RunBlocked):
        await site.runs.approve(site.caller, run.id)
    site.around.verdict = Verdict(block=Block.FLEXIBLE, violations=[{"rule_name": "tags"}])
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site), auto_apply=True)
    assert (run.status, run.waits) == (RunStatus.BLOCKED, True)
    let = await site.runs.approve(site.caller, run.id)
    assert let.status in (RunStatus.ACKNOWLEDGED, RunStatus.APPLYING, RunStatus.APPLY_SUCCESS)
    assert (await site.until(run)).status is RunStatus.APPLY_SUCCESS
    assert site.around.acknowledged_by == [site.caller.actor]


async def test_auto_apply_runs_one_after_the_other_and_deletes_at_last(site: Site, tmp_path: Path) -> None:
    """Runs that were asked for at once all apply, one at a time; a destruction takes the workspace with it."""
    fake_tool(
        site.tools_folder,
        {"apply": "mkdir /tmp/$RUNYARD_WORKSPACE_ID || exit 1; sleep 0.05; rmdir /tmp/$RUNYARD_WORKSPACE_ID"},
    )
    made = await site.workspace(apply_rule="auto")
    runs = [
        await site.run(made, until=[*RunStatus], kind=RunKind.APPLY, origin=uploaded(site)) for _ in range(3)
    ]
    assert {(await site.until(run)).status for run in runs} == {RunStatus.APPLY_SUCCESS}
    repository = make_repository(tmp_path / "repositories" / "infra")
    repository.commit("First", {"main.tf": ""})
    site.around.access_url = repository.url
    last = await site.runs.delete_workspace(site.caller, made.id, destroy=True)
    assert last is not None
    late = await site.run(made, until=[*RunStatus], origin=uploaded(site))
    topic = f"workspace:{made.id}"
    with site.database.broker.subscribe(topic) as events:
        async with asyncio.timeout(20):
            while await site.workspaces.search(site.caller.scope, WorkspaceQuery()):
                await events.next()
    async with asyncio.timeout(5):
        ended = await site.executions.wait(site.caller.scope, late.plan_task_id)
    assert ended.status is Status.CANCELED


async def test_archive_that_is_hostile_is_refused(site: Site) -> None:
    """Names out of the folder and working directories that are not there end the run before the tool begins."""
    fake_tool(site.tools_folder, {})
    made = await site.workspace()
    for files, folder, said in (
        ({"../out.tf": ""}, "", "out.tf"),
        ({"main.tf": ""}, "nowhere", "there is no folder"),
        ({"main.tf": ""}, "../..", "must not contain"),
    ):
        blob = site.archives.put(archive(files))
        run = await site.run(made, origin=Origin(archive=Archive(blob=blob, folder=folder)))
        assert run.status is RunStatus.INIT_ERROR
        assert said in str(run.reason), run.reason
    run = await site.run(made, origin=Origin(archive=Archive(blob="0" * 64)))
    assert "no longer there" in str(run.reason)


async def test_repository_is_planned_at_its_commit(site: Site, tmp_path: Path) -> None:
    """The run knows commit, title and changes; links out of the tree are refused where they matter."""
    fake_tool(site.tools_folder, {"plan": "cat main.tf; exit 1"})
    repository = make_repository(tmp_path / "repositories" / "infra")
    first = repository.commit("First", {"net/main.tf": "# one\n"})
    second = repository.commit("Second", {"net/main.tf": "# two\n"})
    site.around.access_url = repository.url
    made = await site.workspace()
    changed = await site.workspaces.update(site.caller, made.id, working("net"))
    run = await site.run(changed)
    assert (run.origin.commit, run.title, run.iac_version) == (second, "Second", "9.9.9")
    assert "# two" in await site.output(run.plan_task_id)
    assert b"+# two" in site.around.diffs[0]
    run = await site.run(changed, origin=Origin(branch="main", commit=first))
    assert "# one" in await site.output(run.plan_task_id)
    (repository.folder / "net/etc").symlink_to("/etc")
    (repository.folder / "other").symlink_to("/etc")
    repository.commit("Links", {})
    run = await site.run(changed)
    assert run.status is RunStatus.INIT_ERROR
    assert "'net/etc' leads out" in str(run.reason)
    await site.workspaces.update(site.caller, made.id, working("/other/"))
    run = await site.run(changed)
    assert "leads out of the repository by a link" in str(run.reason)


async def test_run_goes_its_way_on_both_databases(database: Database, tmp_path: Path) -> None:
    """Plan, approval, apply and what follows, over SQLite and PostgreSQL."""
    async with AsyncExitStack() as stack:
        engine = make_engine("process", tmp_path / "engine")
        await engine.start()
        stack.push_async_callback(engine.stop)
        site = await open_site(stack, database, engine, tmp_path)
        fake_tool(site.tools_folder, {})
        made = await site.workspace()
        runs = [
            await site.run(
                made, until=[*RunStatus], kind=RunKind.APPLY, origin=uploaded(site), auto_apply=bool(one)
            )
            for one in range(2)
        ]
        waiting = await site.until(runs[0])
        assert waiting.waits
        await site.runs.approve(site.caller, waiting.id)
        assert [(await site.until(run)).status for run in runs] == [RunStatus.APPLY_SUCCESS] * 2
        found = await site.runs.search(
            site.caller.scope, RunQuery(workspace_id=made.id, statuses=["apply_success"])
        )
        assert len(found) == 2
        shown = await site.workspaces.get(site.caller.scope, made.id)
        assert (shown.last_run_status, shown.runs_count) == ("apply_success", 2)


async def test_plan_that_nobody_decides_is_discarded(site: Site) -> None:
    """After the window a plan that waits is given up, and its workspace is free."""
    fake_tool(site.tools_folder, {})
    run = await site.run(await site.workspace(), kind=RunKind.APPLY, origin=uploaded(site))
    later = RunLine(
        site.database, site.executions, site.workspaces, 1, now=lambda: utc_now() + timedelta(hours=47)
    )
    await later.scan()
    assert (await site.until(run)).waits
    later = RunLine(
        site.database, site.executions, site.workspaces, 1, now=lambda: utc_now() + timedelta(hours=49)
    )
    await later.scan()
    done = await site.until(run)
    assert (done.status, done.reason, done.held) == (RunStatus.DISCARDED, "nobody decided in time", False)


async def test_plan_of_ten_thousand_resources_goes_through(site: Site) -> None:
    """A large plan is read from a file, not from a pipe into memory; a `show` without end is cut off."""
    show = """awk 'BEGIN {
      printf "{\\"resource_changes\\":["
      for (i = 0; i < 10000; i++)
        printf "%s{\\"address\\":\\"a.b[%d]\\",\\"change\\":{\\"actions\\":[\\"create\\"],\\"after\\":{\\"x\\":\\"%0500d\\"}}}", (i ? "," : ""), i, i
      print "]}"
    }'"""
    fake_tool(site.tools_folder, {"show": show})
    run = await site.run(await site.workspace(), origin=uploaded(site))
    assert (run.status, run.counts["add"]) == (RunStatus.PLAN_SUCCESS, 10_000), run.reason


async def test_plugins_that_init_downloads_are_shared_with_later_runs(site: Site) -> None:
    """Whole packages of the account's runs, and nothing else, are there for the next one; they never change."""
    package = "example.test/acme/thing/1.0.0/linux_amd64"
    script = f"""
      mkdir -p "$TF_DATA_DIR/providers/{package}" "$TF_DATA_DIR/providers/no/package"
      printf '{{"backend":{{"type":"http"}}}}' > "$TF_DATA_DIR/terraform.tfstate"
      mirror=$(sed -n 's/.*path = "\\(.*\\)"/\\1/p' "$TF_CLI_CONFIG_FILE")
      cat "$mirror/{package}/plugin" || echo none there
      echo "first $RUNYARD_RUN_ID" > "$TF_DATA_DIR/providers/{package}/plugin"
      chmod +x "$TF_DATA_DIR/providers/{package}/plugin"
      ln -s /etc/passwd "$TF_DATA_DIR/providers/{package}/link"
    """
    fake_tool(site.tools_folder, {"init": script})
    made = await site.workspace()
    runs = [await site.run(made, origin=uploaded(site)) for _ in range(3)]
    said = [await site.output(run.plan_task_id) for run in runs]
    assert "none there" in said[0]
    assert f"first {runs[0].id}" in said[1]
    assert f"first {runs[0].id}" in said[2]
    mirror = site.tools_folder.parent / "providers" / made.account_id
    assert [path.name for path in (mirror / package).iterdir()] == ["plugin"]
    assert [path.name for path in mirror.iterdir()] == ["example.test"]


async def test_plugins_of_an_init_that_ran_something_else_are_not_shared(site: Site) -> None:
    """A PATH of the workspace makes `init` run programs of the code, and they could write any provider."""
    package = "example.test/acme/thing/1.0.0/linux_amd64"
    script = f"""
      mkdir -p "$TF_DATA_DIR/providers/{package}"
      printf '{{"backend":{{"type":"http"}}}}' > "$TF_DATA_DIR/terraform.tfstate"
      echo forged > "$TF_DATA_DIR/providers/{package}/plugin"
    """
    fake_tool(site.tools_folder, {"init": script})
    site.around.resolved = Resolved(environment={"PATH": "/root/code/bin:/usr/bin:/bin", "API_TOKEN": "x"})
    made = await site.workspace()
    run = await site.run(made, origin=uploaded(site))
    assert run.status is RunStatus.PLAN_SUCCESS, run.reason
    assert list((site.tools_folder.parent / "providers" / made.account_id).iterdir()) == []


@pytest.mark.parametrize(
    ("code", "shared"),
    [
        ({"main.tf": 'terraform {\n  encryption {\n    key_provider "external" "x" {}\n  }\n}\n'}, False),
        ({"main.tofu": "terraform {\n  encryption /* */ {}\n}\n"}, False),
        ({"main.tf.json": '{"terraform": {"\\u0065ncryption": {}}}'}, False),
        ({"main.tf": 'resource "aws_s3_bucket_server_side_encryption_configuration" "b" {}\n'}, True),
        ({"README.md": "We use encryption.\n", "main.tf": ""}, True),
    ],
)
async def test_plugins_of_code_whose_keys_come_from_programs_are_not_shared(
    site: Site, code: dict[str, str], shared: bool
) -> None:
    """OpenTofu starts the programs that a block `encryption` names in every command, and they could write any provider."""
    package = "example.test/acme/thing/1.0.0/linux_amd64"
    script = f"""
      mkdir -p "$TF_DATA_DIR/providers/{package}"
      printf '{{"backend":{{"type":"http"}}}}' > "$TF_DATA_DIR/terraform.tfstate"
      echo forged > "$TF_DATA_DIR/providers/{package}/plugin"
    """
    fake_tool(site.tools_folder, {"init": script}, program="tofu")
    made = await site.workspace(iac_type="opentofu")
    run = await site.run(made, origin=uploaded(site, code))
    assert run.status is RunStatus.PLAN_SUCCESS, run.reason
    mirror = site.tools_folder.parent / "providers" / made.account_id
    assert [path.name for path in mirror.iterdir()] == (["example.test"] if shared else [])


async def test_run_that_cannot_be_cleared_away_keeps_no_other_waiting(site: Site) -> None:
    """Whatever is wrong with one run, the scan goes on to the others, and comes back to it."""
    fake_tool(site.tools_folder, {})
    bad, good = await site.workspace("bad"), await site.workspace("good")
    broken = True

    async def settler(run: Run) -> None:
        if broken and run.workspace_id == bad.id:
            raise OSError("the disk is full")

    site.runs.line.settlers.append(settler)
    run = await site.run(bad, origin=uploaded(site))
    assert run.status is RunStatus.PLAN_SUCCESS
    waiting = await site.run(good, kind=RunKind.APPLY, origin=uploaded(site))
    later = RunLine(
        site.database, site.executions, site.workspaces, 4, now=lambda: utc_now() + timedelta(days=3)
    )
    later.settlers.append(settler)
    await later.scan()
    assert (await site.runs.get(site.caller.scope, waiting.id)).status is RunStatus.DISCARDED
    broken = False
    await later.scan()
    async with site.database.read() as tx:
        assert await store.unsettled(tx) == []


class OneProvider:
    """As much of a box as gives one package of 100 bytes, of another version each time."""

    version = 0

    def place(self, name: str) -> str:
        return name

    async def output(self, argv: Sequence[str], target: Sink, limit: int) -> None:
        del argv, limit
        self.version += 1
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as out:
            about = tarfile.TarInfo(f"host/acme/thing/{self.version}.0.0/linux_amd64/plugin")
            about.size = 100
            out.addfile(about, io.BytesIO(b"x" * 100))
        target.write(packed.getvalue())


async def test_plugins_beyond_what_is_kept_of_an_account_are_not_taken_over(tmp_path: Path) -> None:
    """Whoever publishes providers without end fills no disk: runs download what they need."""
    cache, box = PluginCache(tmp_path, account_bytes=200), cast("Box", OneProvider())
    mine, other = AccountId("a" * 24), AccountId("b" * 24)
    assert [await cache.take(box, mine, "providers") for _ in range(4)] == [1, 1, 0, 0]
    assert await cache.take(box, other, "providers") == 1


async def test_code_is_not_looked_through_when_init_downloaded_nothing(tmp_path: Path) -> None:
    """That takes a second of a processor for 50,000 files, and most runs find all providers in the mirror."""

    class NothingNew:
        def place(self, name: str) -> str:
            return name

        async def output(self, argv: Sequence[str], target: Sink, limit: int) -> None:
            del argv, target, limit

    code = io.BytesIO(b"no tar at all")
    code.seek(5)
    assert await PluginCache(tmp_path).take(cast("Box", NothingNew()), AccountId("a"), "p", code=code) == 0
    assert code.tell() == 5


def test_names_in_a_package_of_plugins_do_not_lead_out_of_the_accounts_folder(tmp_path: Path) -> None:
    """The archive comes out of the sandbox: its names are anybody's."""
    names = ["../other/localhost/acme/a_b/f", "a.b/c/d/../x_y/f", "host/acme/thing/1.0/linux_amd64/f"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as out:
        for name in names:
            out.addfile(tarfile.TarInfo(name))
    packed.seek(0)
    (tmp_path / "mine").mkdir()
    assert PluginCache(tmp_path)._unpack(AccountId("mine"), packed) == 1
    assert [path.relative_to(tmp_path) for path in tmp_path.glob("**/f")] == [Path("mine") / names[2]]


async def test_version_that_is_not_installed_is_named(site: Site) -> None:
    """The run says what is wanted and what is there."""
    fake_tool(site.tools_folder, {}, version="1.2.3")
    made = await site.workspace(iac_version="1.9.1")
    run = await site.run(made, origin=uploaded(site))
    assert run.status is RunStatus.INIT_ERROR
    assert "terraform 1.9.1 is not installed" in str(run.reason)
    assert "terraform 1.2.3" in str(run.reason)


def working(folder: str) -> WorkspaceChanges:
    """Return the change of a working directory."""
    return WorkspaceChanges(working_directory=folder)


async def test_approval_at_once_leaves_the_apply_its_access(site: Site) -> None:
    """Whoever hears of a plan may approve it while its worker still clears away: the apply can reach its state."""
    fake_tool(site.tools_folder, {})
    made = await site.workspace()
    slow = site.state.release

    async def release(run: Run) -> None:
        await asyncio.sleep(0.05)
        await slow(run)

    site.state.release = release  # type: ignore[method-assign]
    seen: list[set[str]] = []
    given = site.state.backend

    async def backend(workspace: Workspace, run: Run, phase: str) -> BackendAccess:
        access = await given(workspace, run, phase)
        await asyncio.sleep(0.2)
        seen.append(set(site.state.passwords))
        return access

    site.state.backend = backend  # type: ignore[method-assign]
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site))
    await site.runs.approve(site.caller, run.id)
    assert (await site.until(run)).status is RunStatus.APPLY_SUCCESS
    assert seen[1] == {f"pass-apply-{run.id}"}


async def test_pipeline_that_falls_silent_leaves_nothing_running(site: Site) -> None:
    """One of two who begin the apply does; after a day without a word run, execution and log are over."""
    fake_tool(site.tools_folder, {})
    external = ExternalService(site.database, site.runs, site.around, site.around, timedelta(hours=1))
    made = await site.workspace(runner_type="jenkins")
    run = await external.begin(site.caller, made.id, NewReport(run=NewRun(kind=RunKind.APPLY)))

    async def printed() -> AsyncIterator[bytes]:
        yield b"line\n"

    await asyncio.gather(*(external.log(site.caller, run.id, printed()) for _ in range(2)))
    shown = site.tools_folder / "plan.json"
    shown.write_text('{"resource_changes": [{"change": {"actions": ["create"]}}]}')
    assert (await external.plan(site.caller, run.id, shown)).waits
    assert await site.output(run.plan_task_id) == "line\nline\n"
    begun = await asyncio.gather(
        *(external.begin_apply(site.caller, run.id) for _ in range(3)), return_exceptions=True
    )
    applying = [one for one in begun if isinstance(one, Run)]
    assert (len(applying), sum(isinstance(one, RunNotReady) for one in begun)) == (1, 2), begun
    await external.log(site.caller, run.id, printed())
    line = RunLine(
        site.database, site.executions, site.workspaces, 4, now=lambda: utc_now() + timedelta(days=2)
    )
    line.settlers += site.runs.line.settlers
    await line.scan()
    lost = await site.runs.get(site.caller.scope, run.id)
    assert (lost.status, lost.reason) == (RunStatus.APPLY_ERROR, "the pipeline reported nothing for a day")
    task = await site.executions.wait(site.caller.scope, applying[0].current_task_id)
    assert (task.status, task.status_reason) == (Status.FAILED, lost.reason)
    assert external._writers == {}


def test_links_that_go_round_in_circles_are_named_and_not_followed(tmp_path: Path) -> None:
    """Left out where they do no harm, refused in the working directory, and no fault of the server anywhere."""
    (tmp_path / "work").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert pack(tmp_path, io.BytesIO(), working="work", limit=1 << 20) == ["one", "two"]
    with pytest.raises(CheckoutFailed, match="'one' leads out"):
        pack(tmp_path, io.BytesIO(), working="", limit=1 << 20)
    with pytest.raises(CheckoutFailed, match="by a link"):
        working_folder(tmp_path, "one/inner")


async def test_state_that_the_tool_could_not_write_is_brought_home(site: Site) -> None:
    """What an apply leaves is written; a file of the same name in the code is not taken for it."""
    fake_tool(site.tools_folder, {"apply": "exit 1", "state": 'echo "pushed $(cat $3)"'})
    made = await site.workspace()
    code = {"main.tf": "", "errored.tfstate": "old"}
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site, code))
    ended = await site.until(await site.runs.approve(site.caller, run.id))
    assert ended.status is RunStatus.APPLY_ERROR
    assert "pushed" not in await site.output(str(ended.apply_task_id))
    fake_tool(
        site.tools_folder, {"apply": "echo new > errored.tfstate; exit 1", "state": 'echo "pushed $(cat $3)"'}
    )
    run = await site.run(made, kind=RunKind.APPLY, origin=uploaded(site, code))
    ended = await site.until(await site.runs.approve(site.caller, run.id))
    assert "pushed new" in await site.output(str(ended.apply_task_id))


def test_line_that_is_too_deep_to_read_does_not_end_an_apply() -> None:
    """A provider may print what it likes; the apply goes on."""
    said: list[bytes] = []
    lines = ApplyLines(said.append, io.BytesIO(), 1 << 20)
    deep = b"[" * 100_000
    lines.write(deep + b'\n{"@message": "Apply complete!"}\n')
    assert said == [deep + b"\n", b"Apply complete!\n"]
