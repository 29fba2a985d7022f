"""The verbs of images over a fake engine: who may, what is refused, what is recorded."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from runyard.database.engine import Database
from runyard.database.tables import events
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from runyard.runtimes.errors import BaseKept
from runyard.runtimes.images import ImageService
from tests.fakes.engine import FakeEngine

TOKEN = "an-admin-token"


class Yard:
    """A service with an admin and a reader."""

    def __init__(self, identity: IdentityService, database: Database, admin: Principal, folder: Path) -> None:
        self.identity, self.database, self.admin = identity, database, admin
        self.engine = FakeEngine(folder)
        self.images = ImageService(database, identity, self.engine, "host")

    async def token(self, new: NewToken) -> Principal:
        _, secret = await self.identity.create_token(self.admin, new)
        return await self.identity.authenticate(secret)

    async def told(self) -> list[tuple[str, str]]:
        async with self.database.read() as tx:
            rows = await tx.all(select(events).where(events.c.subject_kind == "image").order_by(events.c.id))
        return [(row.type, row.body["name"]) for row in rows]


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    database = await Database.open(None, tmp_path)
    await database.create_all()
    identity = IdentityService(database)
    await identity.bootstrap(TOKEN)
    admin = await identity.authenticate(TOKEN)
    yield Yard(identity, database, admin, tmp_path / "engine")
    await database.close()


async def test_import_and_removal_are_recorded(yard: Yard) -> None:
    made = await yard.images.import_layout(yard.admin, "tools:1", "/srv/tools")
    assert [base.name for base in yard.images.listing()] == ["host", "tools:1"]
    assert made in yard.images.listing()
    await yard.images.remove(yard.admin, "tools:1")
    assert await yard.told() == [("image.imported", "tools:1"), ("image.removed", "tools:1")]


async def test_image_with_the_longest_name_is_recorded(yard: Yard) -> None:
    await yard.images.import_layout(yard.admin, "a" * 180, "/srv/tools")
    assert await yard.told() == [("image.imported", "a" * 180)]


@pytest.mark.parametrize("path", ["", "relative", "/a\0b", "/" + "x" * 4095])
async def test_import_from_no_absolute_path_is_refused(yard: Yard, path: str) -> None:
    with pytest.raises(InvalidArgument):
        await yard.images.import_layout(yard.admin, "tools:1", path)
    assert yard.engine.images == {}


async def test_readers_change_nothing(yard: Yard) -> None:
    await refused(yard, await yard.token(NewToken("r", {Permission.RUNTIMES_READ})))


async def test_administrators_of_a_project_change_nothing(yard: Yard) -> None:
    project = await yard.identity.create_project(yard.admin, yard.admin.scope.project_id, "part")
    await refused(yard, await yard.token(NewToken("p", project_id=project.id)))


async def test_administrators_of_another_account_change_nothing(yard: Yard) -> None:
    _, secret = await yard.identity.create_account("other", "Other")
    await refused(yard, await yard.identity.authenticate(secret))


async def refused(yard: Yard, caller: Principal) -> None:
    await yard.images.import_layout(yard.admin, "tools:1", "/srv/tools")
    with pytest.raises(PermissionDenied):
        await yard.images.import_layout(caller, "tools:1", "/srv/trojan")
    with pytest.raises(PermissionDenied):
        await yard.images.remove(caller, "tools:1")
    assert len(await yard.told()) == 1


async def test_default_base_is_kept(yard: Yard) -> None:
    with pytest.raises(BaseKept, match="default base"):
        await yard.images.remove(yard.admin, "host")
    other = ImageService(yard.database, yard.identity, yard.engine, "tools:1")
    await other.import_layout(yard.admin, "tools:1", "/srv/tools")
    with pytest.raises(BaseKept, match="default base"):
        await other.remove(yard.admin, "tools:1")
    with pytest.raises(BaseKept, match="no imported image"):
        await other.remove(yard.admin, "host")
    with pytest.raises(NotFound):
        await other.remove(yard.admin, "tools:2")
