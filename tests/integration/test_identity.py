"""Identity on both databases: first set-up, tokens, the tree, and its races with servers that are truly parallel."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import func, select, update

from runyard.database.engine import Database
from runyard.database.errors import InvariantViolation, ReferenceViolation, UniqueViolation
from runyard.identity.errors import SlugTaken, StillInUse, TreeTooDeep
from runyard.identity.minting import NewToken
from runyard.identity.model import (
    ALL_PERMISSIONS,
    ROLE_PERMISSIONS,
    Permission,
    Principal,
    Project,
    Role,
    UserKind,
)
from runyard.identity.passing import PassingGrant
from runyard.identity.service import IdentityService
from runyard.identity.tables import accounts, projects, tokens
from runyard.kernel.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RunyardError,
    Unauthenticated,
)
from runyard.kernel.ids import ProjectId, TokenId

Answer = TypeVar("Answer")
SERVERS = 4


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identity(database: Database, clock: Clock) -> IdentityService:
    return IdentityService(database, clock)


@pytest.fixture
async def admin(identity: IdentityService) -> Principal:
    secret = await identity.bootstrap()
    assert secret is not None
    return await identity.authenticate(secret)


async def first_child(identity: IdentityService, admin: Principal) -> str:
    """Return the id of the project `default` below the root."""
    return next(one.id for one in await identity.list_projects(admin) if one.depth == 1)


async def principal_in(identity: IdentityService, admin: Principal, project_id: str) -> Principal:
    """Return a caller with all permissions, narrowed to a project."""
    _, secret = await identity.create_token(admin, NewToken(name="narrow", project_id=ProjectId(project_id)))
    return await identity.authenticate(secret)


async def count(database: Database, column: object) -> int:
    async with database.read() as tx:
        return int(await tx.scalar(select(func.count()).select_from(column)))  # type: ignore[arg-type]


def in_parallel(
    url: str, folder: Path, work: Callable[[IdentityService, int], Awaitable[Answer]]
) -> list[Answer | RunyardError]:
    """Do something in several servers at once: each has a thread, a loop and connections of its own."""

    ready = threading.Barrier(SERVERS)

    async def one(number: int) -> Answer:
        opened = await Database.open(url, folder / f"server{number}")
        try:
            async with opened.read() as tx:  # a connection is there: what follows meets the others at once
                await tx.scalar(select(func.count()).select_from(accounts))
            ready.wait(30)
            return await work(IdentityService(opened), number)
        finally:
            await opened.close()

    def run(number: int) -> Answer | RunyardError:
        try:
            return asyncio.run(one(number))
        except RunyardError as error:
            return error

    with ThreadPoolExecutor(SERVERS) as pool:
        return list(pool.map(run, range(SERVERS)))


# --- first set-up ---


async def test_bootstrap_of_a_new_installation_makes_the_tree_and_a_token(identity: IdentityService) -> None:
    secret = await identity.bootstrap()
    assert secret is not None
    assert secret.startswith("ry_")
    admin = await identity.authenticate(secret)
    tree = await identity.list_projects(admin)
    assert [(one.depth, one.slug) for one in tree] == [(0, "global"), (1, "default"), (2, "default")]
    assert [one.parent_id for one in tree] == [None, tree[0].id, tree[1].id]
    assert tree[2].path == f"/{tree[0].id}/{tree[1].id}/{tree[2].id}/"
    assert (admin.user_name, admin.scope.project_path) == ("admin", tree[0].path)
    assert all(admin.may(permission) for permission in Permission)


async def test_bootstrap_again_changes_nothing(identity: IdentityService, database: Database) -> None:
    assert await identity.bootstrap("given-token") is None
    assert await identity.bootstrap("another-token") is None
    assert await count(database, accounts) == 1
    with pytest.raises(Unauthenticated):
        await identity.authenticate("another-token")
    assert (await identity.authenticate("given-token")).user_name == "admin"


async def test_bootstrap_with_a_short_token_is_refused(identity: IdentityService) -> None:
    with pytest.raises(InvalidArgument, match="8 characters"):
        await identity.bootstrap("1234567")


async def test_bootstrap_by_several_servers_at_once_sets_up_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    answers = in_parallel(database_url, tmp_path, lambda service, _: service.bootstrap())
    made = [one for one in answers if isinstance(one, str)]
    assert Counter(type(one) for one in answers) == {str: 1, type(None): SERVERS - 1}
    assert await count(database, accounts) == 1
    assert (await IdentityService(database).authenticate(made[0])).user_name == "admin"


async def test_secret_is_stored_only_as_its_hash(identity: IdentityService, database: Database) -> None:
    secret = await identity.bootstrap()
    assert secret is not None
    async with database.read() as tx:
        rows = await tx.all(select(tokens))
    assert [row.prefix for row in rows] == [secret[:7]]
    assert secret not in repr(rows)


# --- authentication ---


async def test_authenticate_unknown_secret_is_refused(identity: IdentityService, admin: Principal) -> None:
    for secret in ("", "ry_", "ry_unknown", "ü\udc80", "x" * 100_000):
        with pytest.raises(Unauthenticated):
            await identity.authenticate(secret)
        assert identity.authenticate_cached(secret) is None


async def test_authenticate_second_time_needs_no_database(
    identity: IdentityService, admin: Principal, database: Database
) -> None:
    _, secret = await identity.create_token(admin, NewToken(name="x"))
    assert identity.authenticate_cached(secret) is None
    found = await identity.authenticate(secret)
    assert identity.authenticate_cached(secret) is found


async def test_token_after_its_expiry_is_refused_even_when_cached(
    identity: IdentityService, admin: Principal, clock: Clock
) -> None:
    _, secret = await identity.create_token(admin, NewToken(name="x", expires_in=timedelta(seconds=60)))
    assert (await identity.authenticate(secret)).user_name == "admin"
    clock.moment += timedelta(seconds=60)
    assert identity.authenticate_cached(secret) is None
    with pytest.raises(Unauthenticated):
        await identity.authenticate(secret)


async def test_token_after_its_revocation_is_refused_at_once(
    identity: IdentityService, admin: Principal
) -> None:
    token, secret = await identity.create_token(admin, NewToken(name="x"))
    await identity.authenticate(secret)
    await identity.revoke_token(admin, token.id)
    await identity.revoke_token(admin, token.id)
    assert identity.authenticate_cached(secret) is None
    with pytest.raises(Unauthenticated):
        await identity.authenticate(secret)


async def test_token_revoked_while_it_is_authenticated_is_not_remembered(
    identity: IdentityService, admin: Principal
) -> None:
    for _ in range(20):
        token, secret = await identity.create_token(admin, NewToken(name="x"))
        await asyncio.gather(
            identity.authenticate(secret), identity.revoke_token(admin, token.id), return_exceptions=True
        )
        assert identity.authenticate_cached(secret) is None


async def test_last_use_is_written_when_it_is_flushed(
    identity: IdentityService, admin: Principal, clock: Clock
) -> None:
    token, secret = await identity.create_token(admin, NewToken(name="x"))
    clock.moment += timedelta(hours=1)
    await identity.authenticate(secret)
    await identity.flush_last_used()
    found = {one.id: one for one in (await identity.list_tokens(admin, 10)).items}[token.id]
    assert found.last_used_at == clock.moment


# --- tokens ---


async def test_token_never_exceeds_its_maker(identity: IdentityService, admin: Principal) -> None:
    wanted = {Permission.TOKENS_MANAGE, Permission.RUNTIMES_READ}
    _, secret = await identity.create_token(admin, NewToken(name="small", permissions=wanted))
    small = await identity.authenticate(secret)
    assert small.permissions == wanted
    with pytest.raises(PermissionDenied, match="runtimes:exec"):
        await identity.create_token(small, NewToken(name="x", permissions=[Permission.RUNTIMES_EXEC]))
    with pytest.raises(PermissionDenied, match="admin"):
        await identity.create_token(small, NewToken(name="x"))


async def test_token_without_the_permission_cannot_manage_but_can_end_itself(
    identity: IdentityService, admin: Principal
) -> None:
    wanted = [Permission.RUNTIMES_READ]
    token, secret = await identity.create_token(admin, NewToken(name="x", permissions=wanted))
    caller = await identity.authenticate(secret)
    for refused in (
        identity.create_token(caller, NewToken(name="y", permissions=wanted)),
        identity.list_tokens(caller, 10),
        identity.revoke_token(caller, admin.token_id or ""),
    ):
        with pytest.raises(PermissionDenied):
            await refused
    await identity.revoke_token(caller, token.id)
    with pytest.raises(Unauthenticated):
        await identity.authenticate(secret)


async def test_passing_token_has_the_rights_of_its_user_makes_no_tokens_and_ends(
    identity: IdentityService, admin: Principal
) -> None:
    viewer = await identity.create_user(admin, "viewer", UserKind.USER, Role.VIEWER)
    every = PassingGrant(
        scope=admin.scope, user_name="viewer", asker_id=admin.user_id, scopes=ALL_PERMISSIONS
    )
    secret = identity.begin_passing(every)
    caller = await identity.authenticate(secret)
    assert (caller.user_id, caller.user_name, caller.passing) == (viewer.id, "viewer", True)
    assert caller.permissions == ROLE_PERMISSIONS[Role.VIEWER]
    narrow = frozenset({Permission.ACTIONS_RUN, Permission.TOKENS_MANAGE})
    other = identity.begin_passing(replace(every, user_name="nobody", scopes=narrow))
    asker = await identity.authenticate(other)
    assert (asker.user_id, asker.user_name, asker.permissions) == (admin.user_id, "nobody", narrow)
    with pytest.raises(PermissionDenied, match="cannot make tokens"):
        await identity.create_token(asker, NewToken(name="lasting"))
    with pytest.raises(PermissionDenied, match="cannot make tokens"):
        await identity.log_in(asker, "0" * 32, timedelta(hours=1))
    identity.end_passing(secret)
    with pytest.raises(Unauthenticated):
        await identity.authenticate(secret)
    assert (await identity.authenticate(other)).passing


async def test_token_of_a_project_reaches_that_project_only(
    identity: IdentityService, admin: Principal
) -> None:
    child = await first_child(identity, admin)
    narrow = await principal_in(identity, admin, child)
    assert [one.depth for one in await identity.list_projects(narrow)] == [1, 2]
    with pytest.raises(NotFound):
        await identity.get_project(narrow, admin.scope.project_id)
    with pytest.raises(NotFound):
        await identity.create_token(narrow, NewToken(name="up", project_id=admin.scope.project_id))
    assert {one.project_id for one in (await identity.list_tokens(narrow, 10)).items} == {child}
    with pytest.raises(NotFound):
        await identity.revoke_token(narrow, admin.token_id or "")


async def test_list_tokens_pages_through_all_newest_first(
    identity: IdentityService, admin: Principal
) -> None:
    made = [(await identity.create_token(admin, NewToken(name=f"t{n}")))[0].id for n in range(5)]
    seen: list[TokenId] = []
    cursor: str | None = None
    while True:
        page = await identity.list_tokens(admin, 2, cursor)
        seen += [one.id for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen[:5] == made[::-1]
    assert len(seen) == 6


async def test_token_for_another_user_needs_admin(identity: IdentityService, admin: Principal) -> None:
    await identity.create_user(admin, "robot", UserKind.SERVICE, Role.OPERATOR)
    with pytest.raises(AlreadyExists):
        await identity.create_user(admin, "robot", UserKind.SERVICE, Role.VIEWER)
    _, secret = await identity.create_token(admin, NewToken(name="r", user_name="robot"))
    robot = await identity.authenticate(secret)
    assert robot.user_name == "robot"
    assert not robot.may(Permission.TOKENS_MANAGE), "a role bounds what a token of its holder can do"
    some = [Permission.TOKENS_MANAGE, Permission.RUNTIMES_READ]
    _, secret = await identity.create_token(admin, NewToken(name="m", permissions=some))
    manager = await identity.authenticate(secret)
    with pytest.raises(PermissionDenied):
        await identity.create_token(
            manager, NewToken(name="x", permissions=[Permission.RUNTIMES_READ], user_name="robot")
        )


async def test_administrator_of_a_project_makes_tokens_for_its_own_members_only(
    identity: IdentityService, admin: Principal
) -> None:
    project = await identity.create_project(admin, admin.scope.project_id, "part")
    _, secret = await identity.create_token(admin, NewToken(name="part", project_id=project.id))
    partial = await identity.authenticate(secret)
    await identity.create_user(partial, "inside", UserKind.SERVICE, Role.OPERATOR)
    await identity.create_user(admin, "above", UserKind.SERVICE, Role.VIEWER)
    await identity.create_user(admin, "nowhere", UserKind.SERVICE, None)
    _, secret = await identity.create_token(partial, NewToken(name="i", user_name="inside"))
    assert (await identity.authenticate(secret)).user_name == "inside"
    for name in ("above", "nowhere"):
        with pytest.raises(PermissionDenied, match="whole account"):
            await identity.create_token(partial, NewToken(name="x", user_name=name))
        await identity.create_token(admin, NewToken(name="x", user_name=name))


async def test_log_in_never_outlives_the_token_it_was_made_with(
    identity: IdentityService, admin: Principal, clock: Clock
) -> None:
    _, secret = await identity.create_token(admin, NewToken(name="hour", expires_in=timedelta(hours=1)))
    token = await identity.log_in(
        await identity.authenticate(secret), "first-login-secret", timedelta(days=1)
    )
    assert token.expires_at == clock() + timedelta(hours=1)
    clock.moment += timedelta(minutes=59)
    again = await identity.authenticate("first-login-secret")
    token = await identity.log_in(again, "second-login-secret", timedelta(days=1))
    assert token.expires_at == clock() + timedelta(minutes=1)
    clock.moment += timedelta(minutes=2)
    with pytest.raises(Unauthenticated):
        await identity.authenticate("second-login-secret")


async def test_other_account_is_invisible(identity: IdentityService, admin: Principal) -> None:
    _, secret = await identity.create_account("other", "Other")
    other = await identity.authenticate(secret)
    assert other.scope.account_id != admin.scope.account_id
    for foreign in (
        identity.get_project(other, admin.scope.project_id),
        identity.create_project(other, admin.scope.project_id, "mine"),
        identity.delete_project(other, await first_child(identity, admin)),
        identity.revoke_token(other, admin.token_id or ""),
    ):
        with pytest.raises(NotFound):
            await foreign
    assert {one.account_id for one in await identity.list_projects(other)} == {other.scope.account_id}
    assert len((await identity.list_tokens(other, 10)).items) == 1


# --- the tree ---


async def test_create_project_beyond_the_depth_is_refused(
    identity: IdentityService, admin: Principal
) -> None:
    parent = admin.scope.project_id
    for depth in range(1, 5):
        made = await identity.create_project(admin, parent, "deep")
        assert made.depth == depth
        parent = made.id
    with pytest.raises(TreeTooDeep):
        await identity.create_project(admin, parent, "deeper")


@pytest.mark.parametrize("slug", ["", "A", "a b", "-a", "a/", "é", "a" * 65, "a\n"])
async def test_create_project_with_a_bad_slug_is_refused(
    identity: IdentityService, admin: Principal, slug: str
) -> None:
    with pytest.raises(InvalidArgument):
        await identity.create_project(admin, admin.scope.project_id, slug)


async def test_slug_is_unique_among_siblings_only(identity: IdentityService, admin: Principal) -> None:
    one = await identity.create_project(admin, admin.scope.project_id, "one")
    assert (await identity.create_project(admin, one.id, "one")).slug == "one"
    with pytest.raises(SlugTaken):
        await identity.create_project(admin, admin.scope.project_id, "one")


async def test_delete_project_in_use_is_refused(identity: IdentityService, admin: Principal) -> None:
    one = await identity.create_project(admin, admin.scope.project_id, "one")
    two = await identity.create_project(admin, one.id, "two")
    with pytest.raises(StillInUse):
        await identity.delete_project(admin, one.id)
    await identity.delete_project(admin, two.id)
    await identity.delete_project(admin, one.id)
    with pytest.raises(NotFound):
        await identity.get_project(admin, one.id)
    with pytest.raises(InvalidArgument):
        await identity.delete_project(admin, admin.scope.project_id)


async def test_tables_refuse_what_no_verb_writes(
    identity: IdentityService, admin: Principal, database: Database
) -> None:
    root = admin.scope.project_id
    bad: list[tuple[dict[str, object], type[RunyardError]]] = [
        ({"depth": 5}, InvariantViolation),
        ({"depth": 0, "parent_id": None}, UniqueViolation),
        ({"depth": 1, "parent_id": None}, InvariantViolation),
        ({"parent_id": "f" * 24}, ReferenceViolation),
        ({"slug": "default"}, UniqueViolation),
    ]
    for number, (fields, error) in enumerate(bad):
        row = {"account_id": admin.scope.account_id, "parent_id": root, "depth": 1, "slug": f"s{number}"}
        row |= {"name": "n", "path": f"/{number}/", "created_at": datetime.now(UTC)}
        with pytest.raises(error):
            async with database.transaction() as tx:
                await tx.execute(projects.insert(), {"id": f"{number:024x}", **row, **fields})
    with pytest.raises((InvariantViolation, UniqueViolation)):
        async with database.transaction() as tx:
            await tx.execute(update(projects).values(depth=7))


async def test_create_project_by_several_servers_at_once_makes_one(
    admin: Principal, identity: IdentityService, database_url: str, tmp_path: Path
) -> None:
    root = admin.scope.project_id
    for round_ in range(5):

        async def create(service: IdentityService, _: int, slug: str = f"same{round_}") -> Project:
            return await service.create_project(admin, root, slug)

        answers = in_parallel(database_url, tmp_path, create)
        refused = [one for one in answers if isinstance(one, RunyardError)]
        assert [type(one) for one in refused] == [SlugTaken] * (SERVERS - 1)
    made = [one.slug for one in await identity.list_projects(admin) if one.slug.startswith("same")]
    assert sorted(made) == [f"same{round_}" for round_ in range(5)]


async def test_delete_and_create_below_at_once_leave_no_orphan(
    admin: Principal, identity: IdentityService, database_url: str, tmp_path: Path
) -> None:
    for round_ in range(5):
        parent = await identity.create_project(admin, admin.scope.project_id, f"parent{round_}")

        async def meet(service: IdentityService, number: int, parent_id: str = parent.id) -> str:
            if number == 0:
                await service.delete_project(admin, parent_id)
                return "deleted"
            return (await service.create_project(admin, parent_id, f"child{number}")).id

        answers = in_parallel(database_url, tmp_path, meet)
        if answers[0] == "deleted":
            assert [type(one) for one in answers[1:]] == [NotFound] * (SERVERS - 1)
        else:
            assert isinstance(answers[0], StillInUse)
    tree = await identity.list_projects(admin)
    known = {one.id for one in tree}
    assert all(one.parent_id in known for one in tree if one.parent_id is not None)


async def test_new_admin_token_after_a_loss_authenticates_as_admin(database: Database) -> None:
    service = IdentityService(database)
    await service.bootstrap("first-admin-token")
    secret = await service.new_admin_token()
    caller = await service.authenticate(secret)
    assert caller.user_name == "admin"
    assert caller.may(Permission.ADMIN)
    assert caller.scope == (await service.authenticate("first-admin-token")).scope
