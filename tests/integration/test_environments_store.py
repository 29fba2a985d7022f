"""Rows of environments and of built images on both databases: invariants, scope, listing, races."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from runyard.database.engine import Database
from runyard.database.errors import InvariantViolation, UniqueViolation
from runyard.environments import store
from runyard.environments.model import (
    Command,
    Definition,
    Environment,
    Fail,
    Freed,
    Ready,
    State,
    TearDown,
    apply,
)
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.clock import utc_now
from runyard.kernel.ids import EnvironmentId
from runyard.kernel.transitions import Changed, Refused, transition


@pytest.fixture
async def caller(database: Database) -> Principal:
    """Set an installation up and return its administrator."""
    identity = IdentityService(database)
    await identity.bootstrap("an-admin-token")
    return await identity.authenticate("an-admin-token")


def fresh(caller: Principal, **fields: Any) -> Environment:
    """Return an environment of the caller."""
    now = utc_now()
    given: dict[str, Any] = {
        "id": EnvironmentId.new(),
        "account_id": caller.scope.account_id,
        "project_id": caller.scope.project_id,
        "project_path": caller.scope.project_path,
        "owner_user_id": caller.user_id,
        "actor": caller.actor,
        "task_ref": "default/demo@0.1.0",
        "definition": Definition(
            layer="ab", package="default/demo@0.1.0", inputs={"a": [1, {"b": "ü"}]}, models={"r": "m"}
        ),
        "state": State.PROVISIONING,
        "created_at": now,
        "updated_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    return Environment(**(given | fields))


async def add(database: Database, *environments: Environment) -> None:
    """Write environments."""
    async with database.transaction() as tx:
        for one in environments:
            await store.add(tx, one, b"digest", b"sealed")


async def order(
    database: Database, environment: Environment, command: Command
) -> Changed[Environment] | Refused:
    """Write a transition."""
    async with database.transaction() as tx:
        return await transition(
            tx,
            store.EnvironmentRows(),
            environment.id,
            command,
            lambda before, decided: apply(before, decided, actor="x", now=utc_now()),
        )


async def test_environment_is_read_as_it_was_written(database: Database, caller: Principal) -> None:
    made = fresh(caller, instruction="Go", verification={"method": "flag"}, variables={"x": 1})
    await add(database, made)
    async with database.read() as tx:
        assert await store.get(tx, caller.scope, made.id) == made
        assert await store.secrets_of(tx, made.id) == (b"digest", b"sealed")
        stranger = replace(caller.scope, project_path=f"{caller.scope.project_path}other/x/")
        assert await store.get(tx, stranger, made.id) is None


async def test_error_stands_exactly_where_it_failed(database: Database, caller: Principal) -> None:
    for bad in (fresh(caller, error="x"), fresh(caller, state=State.FAILED)):
        with pytest.raises(InvariantViolation):
            await add(database, bad)


async def test_of_racing_transitions_one_wins_and_what_is_freed_keeps_no_secret(
    database: Database, caller: Principal
) -> None:
    made = fresh(caller)
    await add(database, made)
    outcomes = await asyncio.gather(
        *(
            order(database, made, command)
            for command in (Fail("a"), TearDown(), Fail("b"), TearDown(), Ready({}, {}))
        )
    )
    ends = [one.value.state for one in outcomes if isinstance(one, Changed) and one.value.ended]
    assert len(ends) == 1
    assert isinstance(await order(database, made, Freed()), Changed)
    async with database.read() as tx:
        assert (await store.secrets_of(tx, made.id))[1] is None
        assert await store.unfreed(tx) == []


async def test_listing_filters_pages_and_finds_what_is_over(database: Database, caller: Principal) -> None:
    now = utc_now()
    made = [fresh(caller, expires_at=now + timedelta(seconds=step - 2)) for step in range(5)]
    await add(database, *made)
    await order(database, made[0], TearDown())
    async with database.read() as tx:
        items, total = await store.page(tx, caller.scope, (), 1, 2)
        assert ([one.id for one in items], total) == ([made[3].id, made[2].id], 5)
        items, total = await store.page(tx, caller.scope, (State.TORN_DOWN,), 0, 10)
        assert ([one.id for one in items], total) == ([made[0].id], 1)
        assert set(await store.expired(tx, now)) == {made[1].id, made[2].id}
        assert {one.id for one in await store.unfreed(tx)} == {one.id for one in made}


async def test_built_images_are_known_by_digest_and_go_by_use(database: Database) -> None:
    now = utc_now()
    for number in range(3):
        built = store.BuiltImage(
            digest=f"d{number}",
            checkpoint_id=f"c{number}",
            base="host",
            config={"env": {"A": "1"}},
            size_bytes=1 << 40,
            created_at=now,
            used_at=now + timedelta(seconds=number),
        )
        async with database.transaction() as tx:
            await store.add_image(tx, built)
        with pytest.raises(UniqueViolation):
            async with database.transaction() as tx:
                await store.add_image(tx, msgspec.structs.replace(built, checkpoint_id="other"))
    async with database.transaction() as tx:
        await store.touch_image(tx, "d0", now + timedelta(seconds=9))
        await store.delete_image(tx, "d2")
    async with database.read() as tx:
        assert [one.digest for one in await store.images_by_use(tx)] == ["d1", "d0"]
        found = await store.image(tx, "d1")
    assert found is not None
    assert (found.config, found.size_bytes) == ({"env": {"A": "1"}}, 1 << 40)
