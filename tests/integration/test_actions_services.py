"""The services of actions over both databases: catalogue, datastore, runs and their listing, without a server."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from runyard.actions.datastore import NewKey
from runyard.actions.errors import ActionExists, InvalidMetadata, KeyNotFound, ParameterUnresolved, RunRefused
from runyard.actions.runs import store
from runyard.actions.runs.counting import Counter
from runyard.actions.runs.model import Cause, NewRun, RunFilter
from runyard.actions.tables import datastore_keys
from runyard.actions.traces import TraceFilter
from runyard.database.engine import Database
from runyard.dialects.stackstorm.filters import filter_of
from runyard.dialects.stackstorm.views import execution_view
from runyard.executions.model import Status
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from runyard.kernel.ids import AccountId
from tests.support.wing import Wing


async def test_run_is_a_row_of_the_ledger_with_all_that_actions_add(wing: Wing) -> None:
    ended = await wing.run("core.local", cmd="echo hi")
    assert ended.execution.status is Status.SUCCEEDED
    assert (ended.execution.name, ended.execution.door) == ("core.local", "stackstorm")
    assert ended.execution.command == "echo hi"
    assert ended.parameters == {"cmd": "echo hi"}
    assert ended.result is not None
    assert ended.result["given"]["timeout"] == 60
    types = [event.type for event in ended.history]
    assert types == [f"execution.{name}" for name in ("requested", "scheduled", "running", "succeeded")]
    (trace,), total = await wing.traces.list(
        wing.caller.scope, TraceFilter(kind="execution", object_id=ended.execution.id)
    )
    assert (trace.tag, total) == (f"execution-{ended.run.liveaction_id}", 1)


async def test_secret_parameters_are_masked_in_the_ledger_and_sealed_beside_it(wing: Wing) -> None:
    await wing.catalogue.create(
        wing.caller.scope.account_id,
        {
            "name": "hide",
            "runner_type": "local-shell-cmd",
            "parameters": {"word": {"type": "string", "secret": True}, "cmd": {"default": "say {{ word }}"}},
        },
    )
    ended = await wing.run("default.hide", word="open-sesame")
    stored = ended.execution
    assert "open-sesame" not in f"{stored.parameters}{stored.command}{stored.result}{ended.parameters}"
    assert ended.parameters["word"] == "********"
    clear = await wing.runs.get(wing.caller.scope, ended.execution.id, secrets=True)
    assert clear.parameters["word"] == "open-sesame"
    assert clear.result is not None
    assert clear.result["given"]["cmd"] == "say open-sesame"


async def test_lists_agree_with_a_plain_model(wing: Wing) -> None:
    made = [
        await wing.run(ref, **given)
        for ref, given in (("core.local", {"cmd": "a"}), ("core.noop", {}), ("core.local", {"cmd": "b"}))
    ]
    ids = [one.execution.id for one in made]
    for wanted, expected in (
        (RunFilter(), ids[::-1]),
        (RunFilter(sort=(("timestamp", True),)), ids),
        (RunFilter(action="core.local"), [ids[2], ids[0]]),
        (RunFilter(runner="noop"), [ids[1]]),
        (RunFilter(user="admin", offset=1, limit=1), [ids[1]]),
        (RunFilter(user="nobody"), []),
        (RunFilter(liveaction=made[1].run.liveaction_id), [ids[1]]),
        (RunFilter(statuses=("failed",)), []),
        (RunFilter(after=made[0].execution.created_at), [ids[2], ids[1]]),
        (RunFilter(sort=(("action", True), ("id", False))), [ids[2], ids[0], ids[1]]),
        (RunFilter(nothing=True), []),
    ):
        found, total = await wing.runs.page(wing.caller.scope, wanted)
        assert [one.execution.id for one in found] == expected, wanted
        if wanted.limit is None:
            assert total == len(expected), wanted
    assert await wing.runs.filters(wing.caller.scope, ["action", "runner"]) == {
        "action": ["core.local", "core.noop"],
        "runner": ["local-shell-cmd", "noop"],
    }


async def test_counts_stay_exact_while_the_past_is_remembered(wing: Wing, database: Database) -> None:
    still = Counter(utc_now, timedelta(0))
    moving = Counter(utc_now, timedelta(0), timedelta(0))  # its border moves with every count
    filters = (
        RunFilter(), RunFilter(action="core.noop"), RunFilter(action="core.ask"), RunFilter(runner="local-shell-cmd"),
        RunFilter(statuses=("succeeded",)), RunFilter(statuses=("waiting",)), RunFilter(absent=("parent",)),
        RunFilter(user="admin"), RunFilter(action="core.local", absent=("parent",)), RunFilter(statuses=("canceled",)),
    )  # fmt: skip

    async def compare() -> list[int]:
        async with database.read() as tx:
            plain = [await store.count(tx, wing.caller.scope, one) for one in filters]
            for counter in (still, moving):
                assert [await counter.count(tx, wing.caller.scope, one) for one in filters] == plain
        return plain

    await wing.run("core.noop")
    asked = [await wing.runs.create(wing.caller, NewRun(action="core.ask")) for _ in range(2)]
    delayed = await wing.runs.create(wing.caller, NewRun(action="core.noop", delay_ms=3_600_000))
    assert (await compare())[0] == 4
    child = {"parent": {"execution_id": str(asked[0].execution.id)}}
    await wing.runs.create(wing.caller, NewRun(action="core.noop", context=child))
    await wing.run("core.local", cmd="x")
    assert (await compare())[6] == 5
    await wing.changes.respond(wing.caller, asked[0].execution.id, {"continue": True})
    await wing.changes.cancel(wing.caller, delayed.execution.id)
    assert (await compare())[5] == 1
    await wing.run("core.noop")
    assert (await compare())[0] == 7


async def test_templates_read_keys_and_keys_named_by_keys(wing: Wing) -> None:
    account = wing.caller.scope.account_id
    await wing.datastore.set(account, NewKey(name="which", value="target"))
    await wing.datastore.set(account, NewKey(name="target", value="found", secret=True))
    await wing.datastore.set(account, NewKey(name="mine", value="own", scope="user", user="admin"))
    ended = await wing.run("core.local", cmd="{{ st2kv.system[st2kv.system.which] | decrypt_kv }}")
    assert ended.parameters["cmd"] == "found"
    assert (await wing.run("core.local", cmd="{{ st2kv.user.mine }}.{{ st2kv.system.none }}")).parameters == {
        "cmd": "own."
    }


async def test_unresolved_parameters_leave_a_failed_execution(wing: Wing) -> None:
    with pytest.raises(ParameterUnresolved, match="Dependency unsatisfied"):
        await wing.runs.create(wing.caller, NewRun(action="core.local", parameters={"cmd": "{{ nope }}"}))
    last = await wing.runs.get(wing.caller.scope, "last")
    assert last.execution.status is Status.FAILED
    assert last.result is not None
    assert last.result["error"] == 'Dependency unsatisfied in variable "nope"'


async def test_cancel_waits_for_the_runner_and_names_who_did_it(wing: Wing) -> None:
    made = await wing.runs.create(wing.caller, NewRun(action="core.http", parameters={"url": "http://x"}))
    scope = wing.caller.scope
    await asyncio.wait_for(wing.reluctant.started.wait(), 10)
    assert (await wing.changes.cancel(wing.caller, made.execution.id)).execution.status in (
        Status.CANCELING,
        Status.CANCELED,
    )
    await wing.runs.executions.wait(scope, made.execution.id)
    ended = await wing.runs.get(scope, made.execution.id)
    assert ended.result == {"message": "Action canceled by user.", "user": "admin"}
    done = await wing.run("core.noop")
    with pytest.raises(RunRefused, match="State = succeeded"):
        await wing.changes.cancel(wing.caller, done.execution.id)


async def test_execution_that_is_being_canceled_shows_who_did_it_and_can_be_asked_for_it_again(
    wing: Wing,
) -> None:
    wing.reluctant.released.clear()
    scope = wing.caller.scope
    try:
        made = await wing.runs.create(wing.caller, NewRun(action="core.http", parameters={"url": "http://x"}))
        name = made.execution.id
        await asyncio.wait_for(wing.reluctant.started.wait(), 10)
        canceling = await wing.changes.cancel(wing.caller, name)
        assert canceling.execution.status is Status.CANCELING
        assert canceling.result == {"message": "Action canceled by user.", "user": "admin"}
        for status in ("canceling", "canceled"):
            again = await wing.changes.set_status(wing.caller, name, status, None)
            assert again.execution.status is Status.CANCELING
        with pytest.raises(RunRefused, match="State = canceling"):
            await wing.changes.cancel(wing.caller, name)
    finally:
        wing.reluctant.released.set()
    await wing.runs.executions.wait(scope, name)
    assert (await wing.runs.get(scope, name)).execution.status is Status.CANCELED


@pytest.mark.parametrize("user", [None, "", False, 0])
async def test_header_that_names_no_user_leaves_the_caller(wing: Wing, user: object) -> None:
    made = await wing.runs.create(wing.caller, NewRun(action="core.noop", header_context={"user": user}))
    assert (made.run.context["user"], made.run.user_name) == ("admin", "admin")


async def test_inquiry_for_another_user_is_not_answered_by_an_administrator(wing: Wing) -> None:
    made = await wing.runs.create(wing.caller, NewRun(action="core.ask", parameters={"users": ["eve"]}))
    with pytest.raises(PermissionDenied, match='user "admin" does not have permission to respond to inquiry'):
        await wing.changes.respond(wing.caller, made.execution.id, {"continue": True})
    assert (
        await wing.changes.inquiry(wing.caller.scope, made.execution.id)
    ).execution.status is Status.WAITING


async def test_inquiry_waits_as_a_row_and_ends_by_its_answer(wing: Wing) -> None:
    made = await wing.runs.create(wing.caller, NewRun(action="core.ask"))
    asked = await wing.changes.inquiry(wing.caller.scope, made.execution.id)
    assert asked.execution.status is Status.WAITING
    assert made.execution.id not in wing.runs.executions.worker.in_flight
    with pytest.raises(InvalidArgument, match="did not pass schema validation"):
        await wing.changes.respond(wing.caller, made.execution.id, {"continue": 5})
    await wing.changes.respond(wing.caller, made.execution.id, {"continue": True})
    ended = await wing.runs.get(wing.caller.scope, made.execution.id)
    assert ended.execution.status is Status.SUCCEEDED
    assert ended.result is not None
    assert ended.result["response"] == {"continue": True}


async def test_actions_have_one_name_and_those_of_the_product_stay(wing: Wing) -> None:
    account = wing.caller.scope.account_id
    metadata = {"name": "one", "runner_type": "noop"}
    made = await wing.catalogue.create(account, metadata)
    with pytest.raises(ActionExists) as refused:
        await wing.catalogue.create(account, metadata)
    assert refused.value.existing == made.id
    with pytest.raises(InvalidMetadata, match="system level packs"):
        await wing.catalogue.create(account, {**metadata, "pack": "core"})
    with pytest.raises(InvalidMetadata, match="RunnerType nope is not found"):
        await wing.catalogue.create(account, {"name": "two", "runner_type": "nope"})
    changed = await wing.catalogue.update(account, made.id, {**metadata, "enabled": False})
    assert (changed.id, changed.action.enabled) == (made.id, False)
    with pytest.raises(InvalidArgument, match="is disabled"):
        await wing.run("default.one")
    await wing.catalogue.delete(account, "default.one")
    assert await wing.catalogue.find(account, "default.one") is None


async def test_packs_are_loaded_from_disk_again_and_again(wing: Wing) -> None:
    folder = wing.folder / "packs" / "demo"
    (folder / "actions").mkdir(parents=True)
    (folder / "pack.yaml").write_text("ref: demo\nname: demo\nversion: 1.0.0\nauthor: Me\n")
    (folder / "actions" / "a.yaml").write_text("name: a\nrunner_type: noop\n")
    (folder / "actions" / "b.yaml").write_text("name: b\nrunner_type: bogus\n")
    account = wing.caller.scope.account_id
    report = await wing.catalogue.register(account, ["demo"])
    assert (report.actions, len(report.problems)) == (1, 1)
    first = await wing.catalogue.action(account, "demo.a")
    (folder / "actions" / "b.yaml").write_text("name: b\nrunner_type: noop\n")
    assert (await wing.catalogue.register(account, None)).problems == []
    assert (await wing.catalogue.action(account, "demo.a")).id == first.id
    assert (await wing.run("demo.b")).execution.status is Status.SUCCEEDED
    with pytest.raises(NotFound, match="not found on disk"):
        await wing.catalogue.register(account, ["nowhere"])


async def test_keys_expire_and_belong_to_a_user(wing: Wing) -> None:
    account = wing.caller.scope.account_id
    await wing.datastore.set(account, NewKey(name="k", value="v", ttl_secs=60))
    await wing.datastore.set(account, NewKey(name="k", value="mine", scope="user", user="bob"))
    assert (await wing.datastore.get(account, "system", "", "k")).value == "v"
    with pytest.raises(KeyNotFound):
        await wing.datastore.get(account, "user", "eve", "k")
    wing.clock.now += timedelta(seconds=61)
    with pytest.raises(KeyNotFound):
        await wing.datastore.get(account, "system", "", "k")
    keys = await wing.datastore.list(account, [("system", ""), ("user", "bob")])
    assert [key.value for key in keys] == ["mine"]
    sealed = await wing.datastore.set(account, NewKey(name="s", value="hidden", secret=True))
    assert "hidden" not in sealed.value
    again = await wing.datastore.set(account, NewKey(name="t", value=sealed.value, sealed=True))
    assert wing.datastore.decrypt(account, again.value) == "hidden"
    with pytest.raises(InvalidArgument, match="not encrypted by this server"):
        await wing.datastore.set(account, NewKey(name="t", value="00ff", sealed=True))


async def test_secrets_of_older_servers_are_bound_to_their_account_when_they_are_read(
    wing: Wing, database: Database
) -> None:
    account, vault = wing.caller.scope.account_id, Vault(wing.folder / "keys")
    unbound = vault.seal(b"from before", b"datastore").hex()
    await wing.datastore.set(account, NewKey(name="old", value="x", secret=True))
    async with database.transaction() as tx:
        await tx.execute(update(datastore_keys).where(datastore_keys.c.name == "old").values(value=unbound))
    read = await wing.datastore.get(account, "system", "", "old")
    assert wing.datastore.decrypt(account, read.value) == "from before"
    assert (await wing.run("core.local", cmd="{{ st2kv.system.old | decrypt_kv }}")).parameters[
        "cmd"
    ] == "from before"
    for brought in (unbound, wing.datastore.encrypt(AccountId.new(), "of another tenant")):
        with pytest.raises(InvalidArgument, match="not encrypted by this server"):
            await wing.datastore.set(account, NewKey(name="new", value=brought, sealed=True))
        with pytest.raises(ParameterUnresolved, match="not encrypted by this server"):
            await wing.run("core.local", cmd=f"{{{{ '{brought}' | decrypt_kv }}}}")


async def test_one_key_is_set_by_many_at_once(wing: Wing) -> None:
    account = wing.caller.scope.account_id
    setting = [wing.datastore.set(account, NewKey(name="busy", value=str(number))) for number in range(20)]
    assert {key.name for key in await asyncio.gather(*setting)} == {"busy"}
    assert len(await wing.datastore.list(account, [("system", "")])) == 1


async def test_executions_that_a_rule_asked_for_show_their_cause_and_are_found_by_it(wing: Wing) -> None:
    instance_id = "c" * 24
    cause = Cause(
        rule={"id": "a" * 24, "name": "alarm", "pack": "demo"},
        trigger={"id": "b" * 24, "name": "hook", "pack": "core"},
        trigger_type={"name": "st2.webhook", "pack": "core"},
        trigger_instance={"id": instance_id, "status": "processing"},
    )
    made = await wing.runs.create(wing.caller, NewRun(action="core.noop", cause=cause))
    await wing.runs.executions.wait(wing.caller.scope, made.execution.id)
    other = await wing.run("core.noop")
    for query, wanted in (
        ({"rule": "alarm"}, made), ({"trigger": "hook"}, made), ({"trigger_type": "st2.webhook"}, made),
        ({"trigger_instance": instance_id}, made), ({"filter": "rule.name:alarm"}, made), ({"rule": "null"}, other),
    ):  # fmt: skip
        found, total = await wing.runs.page(wing.caller.scope, filter_of(query))
        assert ([one.execution.id for one in found], total) == ([wanted.execution.id], 1), query
    shown = execution_view(await wing.runs.get(wing.caller.scope, made.execution.id), "https://here")
    assert shown["rule"] == cause.rule
    assert shown["trigger_instance"] == cause.trigger_instance
    assert "rule" not in execution_view(
        await wing.runs.get(wing.caller.scope, other.execution.id), "https://here"
    )
    values = await wing.runs.filters(wing.caller.scope, ["rule", "trigger", "trigger_type"])
    assert values == {"rule": ["alarm"], "trigger": ["hook"], "trigger_type": ["st2.webhook"]}


async def test_action_with_more_metadata_than_a_pack_may_have_is_refused(wing: Wing) -> None:
    """Lists hold all actions of an account, and each run of one keeps a copy."""
    account = wing.caller.scope.account_id
    made = {"name": "long", "pack": "default", "runner_type": "noop", "description": "x" * (1 << 20)}
    with pytest.raises(InvalidMetadata, match="at most 1048576 bytes"):
        await wing.catalogue.create(account, made)
    stored = await wing.catalogue.create(account, {**made, "description": "x" * 1_000_000})
    with pytest.raises(InvalidMetadata, match="at most 1048576 bytes"):
        await wing.catalogue.update(account, stored.id, made)
    for _ in range(2):
        assert (await wing.run("default.long")).execution.status is Status.SUCCEEDED
