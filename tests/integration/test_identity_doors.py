"""What doors add to identity, on both databases: keys of users, log-ins of devices, the tree as a narrow scope sees it,
and secrets of users."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.environments.usersecrets.service import UserSecretService
from runyard.identity import devices
from runyard.identity.devices import DeviceService
from runyard.identity.errors import LastAdmin
from runyard.identity.keys import KeyService, NewKey
from runyard.identity.members import MemberService, NewMember
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission, Principal, Role, UserKind
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    RunyardError,
    Unauthenticated,
)

TOKEN = "an-admin-token"


class Hall:
    """Identity over one database, with a clock of the test's own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.time = datetime.now(UTC)
        self.database = database
        self.identity = IdentityService(database, self.now)
        self.keys = KeyService(database, self.identity, self.now)
        self.devices = DeviceService(database, self.now)
        self.tenancy = TenancyService(database)
        self.vault = Vault(folder / "keys")
        self.secrets = UserSecretService(database, self.vault, self.now)

    def now(self) -> datetime:
        return self.time

    async def admin(self) -> Principal:
        return await self.identity.authenticate(TOKEN)

    async def operator(self, **fields: object) -> Principal:
        """Return a caller that may work, but not make tokens for others."""
        admin = await self.admin()
        await self.identity.create_user(admin, "op", UserKind.USER, Role.OPERATOR)
        new = NewToken("op", user_name="op", **fields)  # type: ignore[arg-type]
        _, secret = await self.identity.create_token(admin, new)
        return await self.identity.authenticate(secret)

    async def logged_in(self, approver: Principal) -> Principal:
        """Return the caller that a device becomes when somebody approves it."""
        codes = await self.devices.begin()
        await self.devices.approve(approver, codes.user_code)
        _, secret = await self.devices.exchange(codes.device_code)
        return await self.identity.authenticate(secret)


@pytest.fixture
async def hall(database: Database, tmp_path: Path) -> Hall:
    one = Hall(database, tmp_path)
    await one.identity.bootstrap(TOKEN)
    return one


async def outcomes(*calls: object) -> list[str]:
    """Run calls at the same time and return how each ended."""
    found = await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload]
    assert all(not isinstance(one, BaseException) or isinstance(one, RunyardError) for one in found), found
    return sorted("refused" if isinstance(one, BaseException) else "done" for one in found)


async def test_device_is_approved_once_and_gets_one_token(hall: Hall) -> None:
    admin = await hall.admin()
    codes = await hall.devices.begin()
    with pytest.raises(Conflict):
        await hall.devices.exchange(codes.device_code)
    approvals = [hall.devices.approve(admin, codes.user_code) for _ in range(4)]
    assert await outcomes(*approvals) == ["done", "refused", "refused", "refused"]
    user = await hall.devices.approved_by(codes.device_code)
    assert user is not None
    assert user.name == "admin"
    exchanges = [hall.devices.exchange(codes.device_code) for _ in range(4)]
    assert await outcomes(*exchanges) == ["done", "refused", "refused", "refused"]


async def test_device_code_ends_and_so_does_its_token(hall: Hall) -> None:
    admin = await hall.admin()
    late, soon = await hall.devices.begin(), await hall.devices.begin()
    await hall.devices.approve(admin, soon.user_code)
    _, secret = await hall.devices.exchange(soon.device_code)
    hall.time += devices.LIFETIME + timedelta(seconds=1)
    for attempt in (
        hall.devices.approve(admin, late.user_code),
        hall.devices.approved_by(late.device_code),
        hall.devices.exchange(late.device_code),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Unauthenticated):
        await hall.identity.authenticate(secret)


async def test_device_approved_by_a_token_that_was_revoked_gets_nothing(hall: Hall) -> None:
    operator = await hall.operator()
    codes = await hall.devices.begin()
    await hall.devices.approve(operator, codes.user_code.lower().replace("-", " "))
    await hall.identity.revoke_token(await hall.admin(), operator.token_id or "")
    with pytest.raises(NotFound):
        await hall.devices.exchange(codes.device_code)


async def test_device_makes_no_key_once_its_approver_was_revoked(hall: Hall) -> None:
    operator = await hall.operator()
    device = await hall.logged_in(operator)
    await hall.identity.revoke_token(await hall.admin(), operator.token_id or "")
    with pytest.raises(PermissionDenied):
        await hall.keys.create(device, NewKey(name="too late"))


async def test_devices_that_wait_are_bounded(hall: Hall, database: Database) -> None:
    few = DeviceService(database, hall.now, max_pending=2)
    for _ in range(2):
        await few.begin()
    with pytest.raises(LimitExceeded):
        await few.begin()
    hall.time += devices.LIFETIME
    await few.begin()


async def test_key_of_a_device_can_do_what_its_approver_can_and_ends_with_it(hall: Hall) -> None:
    operator = await hall.operator(expires_in=timedelta(days=1))
    with pytest.raises(PermissionDenied):
        await hall.keys.create(operator, NewKey(name="by itself"))
    device = await hall.logged_in(operator)
    key, secret = await hall.keys.create(device, NewKey(name="laptop", allow_self_revoke=True))
    caller = await hall.identity.authenticate(secret)
    assert caller.permissions == operator.permissions
    assert key.expires_at == hall.time + timedelta(days=1)
    with pytest.raises(PermissionDenied):
        await hall.keys.create(caller, NewKey(name="from a key"))
    assert [one.name for one in await hall.keys.list(operator)] == ["laptop"]
    assert await hall.keys.list(await hall.admin()) == []
    with pytest.raises(NotFound):
        await hall.keys.revoke(await hall.admin(), key.id)
    await hall.keys.revoke_self(caller)
    with pytest.raises(Unauthenticated):
        await hall.identity.authenticate(secret)


async def test_key_never_gets_more_than_its_maker(hall: Hall) -> None:
    admin = await hall.admin()
    narrow = NewKey(scopes=["tokens:manage", "tasks:read"])
    _, secret = await hall.keys.create(admin, narrow)
    maker = await hall.identity.authenticate(secret)
    for scopes in (["admin"], ["tasks:write"]):
        with pytest.raises(PermissionDenied):
            await hall.keys.create(maker, NewKey(scopes=scopes))
    _, more = await hall.keys.create(maker, NewKey())
    assert (await hall.identity.authenticate(more)).permissions == {
        Permission.TOKENS_MANAGE,
        Permission.TASKS_READ,
    }
    with pytest.raises(PermissionDenied):
        await hall.keys.revoke_self(admin)


async def test_tree_is_seen_from_a_narrow_scope(hall: Hall) -> None:
    admin = await hall.admin()
    (top,) = await hall.tenancy.tops(admin.scope)
    other = await hall.identity.create_project(admin, admin.scope.project_id, "other")
    web = await hall.identity.create_project(admin, top.id, "web")
    deep = await hall.identity.create_project(admin, web.id, "deep")
    assert [key for key, _ in await hall.tenancy.inner(admin.scope, top)] == ["default", "web", "web.deep"]
    assert (await hall.tenancy.inner_named(admin.scope, top, deep.id))[0] == "web.deep"
    assert (await hall.tenancy.home(admin.scope, top)).id == top.id
    _, secret = await hall.identity.create_token(admin, NewToken("web", project_id=web.id))
    scope = (await hall.identity.authenticate(secret)).scope
    assert [one.slug for one in await hall.tenancy.tops(scope)] == ["default"]
    assert [key for key, _ in await hall.tenancy.inner(scope, top)] == ["web", "web.deep"]
    assert (await hall.tenancy.home(scope, top)).id == web.id
    for reference in ("other", other.id, "none"):
        with pytest.raises(NotFound):
            await hall.tenancy.top(scope, reference)
    with pytest.raises(NotFound):
        await hall.tenancy.inner_named(scope, top, "default")


async def test_account_never_loses_its_last_admin(hall: Hall) -> None:
    admin = await hall.admin()
    one, two = (MemberService(hall.database, hall.identity) for _ in range(2))
    root = admin.scope.project_id
    (first,) = [user.user for user in await one.list(admin, root) if user.role is Role.ADMIN]
    for role in (Role.VIEWER, Role.OPERATOR):
        with pytest.raises(LastAdmin):
            await one.add(admin, root, [NewMember(first.name, role)])
    await one.add(admin, root, [NewMember("second", Role.ADMIN)])
    removals = one.remove(admin, root, [first.name]), two.remove(admin, root, ["second"])
    assert await outcomes(*removals) == ["done", "refused"]
    left = [member.role for member in await one.list(admin, root)]
    assert left.count(Role.ADMIN) == 1


async def test_address_of_a_user_is_changed_by_who_administers_the_whole_account(hall: Hall) -> None:
    admin = await hall.admin()
    members = MemberService(hall.database, hall.identity)
    (top,) = await hall.tenancy.tops(admin.scope)
    _, token = await hall.identity.create_token(admin, NewToken(name="part", project_id=top.id))
    part = await hall.identity.authenticate(token)

    async def address(caller: Principal, email: str, reference: str = "dan") -> str | None:
        given = await members.add(caller, top.id, [NewMember(reference, Role.VIEWER, email)])
        return given[0].user.email

    assert await address(part, "dan@first.test") == "dan@first.test"
    assert await address(part, "dan@second.test") == "dan@first.test"
    assert await address(admin, "dan@second.test") == "dan@second.test"
    assert await address(admin, "dan@third.test", reference="dan@second.test") == "dan@second.test"
    for reference in ("dan", "new"):
        assert await address(admin, f"{'x' * 310}@long.test", reference) == f"{'x' * 310}@long.test"
        with pytest.raises(InvalidArgument):
            await address(admin, f"{'x' * 311}@long.test", reference)


async def test_tree_of_another_account_is_not_found(hall: Hall) -> None:
    admin = await hall.admin()
    (top,) = await hall.tenancy.tops(admin.scope)
    _, token = await hall.identity.create_account("other", "Other")
    theirs = await hall.identity.authenticate(token)
    for reference in (top.id, top.slug):
        with pytest.raises(NotFound):
            await hall.tenancy.top(theirs.scope, reference)
    assert (await hall.tenancy.account_of(theirs.scope)).slug == "other"


async def test_secrets_belong_to_one_user_and_survive_a_rotation(hall: Hall) -> None:
    admin, operator = await hall.admin(), await hall.operator()
    mine = await hall.secrets.create(admin, "api_key", "one")
    await hall.secrets.create(operator, "api_key", "two")
    account = admin.scope.account_id
    assert await hall.secrets.resolve(account, admin.user_id, [mine.id, mine.id]) == {"API_KEY": "one"}
    with pytest.raises(NotFound):
        await hall.secrets.resolve(account, operator.user_id, [mine.id])
    with pytest.raises(NotFound):
        await hall.secrets.get(operator, mine.id)
    with pytest.raises(AlreadyExists):
        await hall.secrets.create(admin, "API_KEY", "three")
    hall.vault.rotate()
    assert await hall.secrets.seal_again() == 2
    assert await hall.secrets.seal_again() == 0
    hall.vault.forget_old()
    await hall.secrets.replace(admin, mine.id, "four")
    assert await hall.secrets.resolve(account, admin.user_id, [mine.id]) == {"API_KEY": "four"}


async def test_preset_set_twice_at_once_is_one_secret(hall: Hall) -> None:
    admin = await hall.admin()
    made = await asyncio.gather(*(hall.secrets.preset(admin, "openai", f"v{n}") for n in range(4)))
    assert len({one.id for one in made}) == 1
    assert [one.name for one in await hall.secrets.list(admin)] == ["OPENAI_API_KEY"]
