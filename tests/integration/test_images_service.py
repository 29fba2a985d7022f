"""The verbs of images over a fake engine: who may, what is refused, what is recorded."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from runyard.database.engine import Database
from runyard.database.tables import events
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService, NewToken
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from runyard.runtimes.errors import BaseKept
from runyard.runtimes.images import ImageService
from tests.fakes.engine import FakeEngine

TOKEN = "an-admin-token"


class Yard:
    """A service with an admin and a reader."""

    def __init__(self, database: Database, admin: Principal, reader: Principal, folder: Path) -> None:
        self.database, self.admin, self.reader = database, admin, reader
        self.engine = FakeEngine(folder)
        self.images = ImageService(database, self.engine, "host")

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
    _, secret = await identity.create_token(admin, NewToken("r", {Permission.RUNTIMES_READ}))
    yield Yard(database, admin, await identity.authenticate(secret), tmp_path / "engine")
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
    with pytest.raises(PermissionDenied):
        await yard.images.import_layout(yard.reader, "tools:1", "/srv/tools")
    with pytest.raises(PermissionDenied):
        await yard.images.remove(yard.reader, "host")


async def test_default_base_is_kept(yard: Yard) -> None:
    with pytest.raises(BaseKept, match="default base"):
        await yard.images.remove(yard.admin, "host")
    other = ImageService(yard.database, yard.engine, "tools:1")
    await other.import_layout(yard.admin, "tools:1", "/srv/tools")
    with pytest.raises(BaseKept, match="default base"):
        await other.remove(yard.admin, "tools:1")
    with pytest.raises(BaseKept, match="no imported image"):
        await other.remove(yard.admin, "host")
    with pytest.raises(NotFound):
        await other.remove(yard.admin, "tools:2")
