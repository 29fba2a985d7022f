"""What is beside runs, on both databases: roles and who holds them, runner switches, what follows an end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from runyard.actions.access.definitions import read_definitions
from runyard.actions.access.service import AccessService
from runyard.actions.followups.model import InstanceFilter
from runyard.actions.followups.service import FollowupService
from runyard.actions.runs.model import NewRun
from runyard.database.engine import Database
from runyard.identity.minting import NewToken
from runyard.identity.model import UserKind
from runyard.identity.service import IdentityService
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from tests.support.wing import Wing

ROLES = [
    {
        "name": "runners",
        "permission_grants": [{"resource_uid": "pack:core", "permission_types": ["action_execute"]}],
    },
    {"name": "off", "enabled": False, "permission_grants": [{"permission_types": ["pack_all"]}]},
]


async def test_roles_are_applied_whole_and_count_at_once(wing: Wing, database: Database) -> None:
    identity = IdentityService(database)
    await identity.create_user(wing.caller, "bob", UserKind.USER, None)
    _, secret = await identity.create_token(wing.caller, NewToken(name="bob", user_name="bob"))
    bob = await identity.authenticate(secret)
    access = AccessService(database, enforced=True, isolated=True)
    assert not (await access.of(bob)).allows("action_execute")
    held = [{"username": "bob", "roles": ["runners", "off", "observer"]}]
    await access.apply(wing.caller, read_definitions(ROLES, held))
    found = await access.of(bob)
    assert (found.roles, found.owner, found.is_admin) == (("observer", "off", "runners"), "bob", False)
    assert found.allows("action_execute", ("action:core:local", "pack:core"))
    assert not found.allows("action_execute", ("action:linux:ls", "pack:linux"))
    assert not found.allows("pack_register")
    assert [one.name for one in await access.roles(bob.scope.account_id)] == [
        "admin", "observer", "off", "runners", "system_admin",
    ]  # fmt: skip
    assert (await access.of(wing.caller)).owner is None
    with pytest.raises(PermissionDenied):
        await access.apply(bob, read_definitions([], []))
    await access.apply(wing.caller, read_definitions([], []))
    assert not (await access.of(bob)).allows("action_execute")
    assert await access.assignments(bob.scope.account_id) == []


async def test_roles_applied_by_two_at_once_are_those_of_one_of_them(wing: Wing, database: Database) -> None:
    access = AccessService(database, enforced=True, isolated=False)
    held = [[{"username": f"user{number}", "roles": ["runners"]}] for number in range(6)]
    done = await asyncio.gather(
        *(access.apply(wing.caller, read_definitions(ROLES, one)) for one in held), return_exceptions=True
    )
    assert {type(one) for one in done} <= {type(None)}
    assert len(await access.assignments(wing.caller.scope.account_id)) == 1
    assert len(await access.roles(wing.caller.scope.account_id)) == 5


async def test_runner_that_is_switched_off_runs_nothing(wing: Wing) -> None:
    account = wing.caller.scope.account_id
    switching = [wing.catalogue.switch_runner(account, "noop", enabled=False) for _ in range(5)]
    done = await asyncio.gather(*switching, return_exceptions=True)
    assert any(not isinstance(one, BaseException) for one in done)
    with pytest.raises(InvalidArgument, match='Runner "noop" is disabled'):
        await wing.run("core.noop")
    await wing.catalogue.switch_runner(account, "noop", enabled=True)
    assert (await wing.run("core.noop")).execution.ended


async def test_end_is_told_once_however_many_look(wing: Wing, database: Database) -> None:
    lookers = [FollowupService(database, wing.runs) for _ in range(4)]
    account = wing.caller.scope.account_id
    notify = {"on-complete": {"routes": ["a", "b"]}, "on-success": {"message": "m", "routes": ["c"]}}
    waiting = await wing.runs.create(wing.caller, NewRun(action="core.ask", notify=notify))
    made = [
        await wing.runs.create(
            wing.caller, NewRun(action="core.noop", notify=notify, callback={"url": "http://x/"})
        )
        for _ in range(3)
    ]
    for one in made:
        await wing.runs.executions.wait(wing.caller.scope, one.execution.id)
    await asyncio.gather(*(one.look() for one in lookers))
    for looker in lookers:
        await looker.stop()
    found, total = await lookers[0].instances(account, InstanceFilter(limit=4))
    assert (len(found), total) == (4, 9)
    assert {one.payload["route"] for one in (await lookers[0].instances(account, InstanceFilter()))[0]} == {
        "a",
        "b",
        "c",
    }
    assert waiting.execution.id not in {one.payload["execution_id"] for one in found}
    assert await lookers[0].instance(account, found[0].id) == found[0]
    with pytest.raises(NotFound):
        await lookers[0].instance(account, "0" * 24)
    later = datetime.now(UTC) + timedelta(hours=1)
    for wanted, count in (
        (InstanceFilter(trigger="core.st2.generic.notifytrigger", status="processed", before=later), 9),
        (InstanceFilter(trigger="other"), 0),
        (InstanceFilter(after=later), 0),
    ):
        assert (await lookers[0].instances(account, wanted))[1] == count
    history = (await wing.runs.get(wing.caller.scope, made[0].execution.id)).history
    assert [event.type for event in history].count("notification.sent") == 3


async def test_callback_to_a_host_that_is_not_named_is_refused_and_an_absent_one_is_tried_later(
    wing: Wing, database: Database
) -> None:
    refused = await wing.runs.create(
        wing.caller, NewRun(action="core.noop", callback={"url": "http://10.0.0.1/"})
    )
    absent = await wing.runs.create(
        wing.caller, NewRun(action="core.noop", callback={"url": "http://127.0.0.1:9/"})
    )
    for one in (refused, absent):
        await wing.runs.executions.wait(wing.caller.scope, one.execution.id)
    followups = FollowupService(database, wing.runs, ["127.0.0.1"])
    assert await followups.look() == 2
    await followups.called()
    assert await followups.look() == 0
    kinds = [event.type for event in (await wing.runs.get(wing.caller.scope, refused.execution.id)).history]
    assert kinds[-1] == "callback.refused"
    assert "callback.failed" not in [
        event.type for event in (await wing.runs.get(wing.caller.scope, absent.execution.id)).history
    ]
    await followups.stop()
