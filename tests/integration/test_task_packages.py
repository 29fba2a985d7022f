"""The verbs of task packages on both databases: races of pushes, what a sweep takes, whose bytes are whose."""

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.environments.packages.errors import BadPackage, DigestMismatch, TaskNotFound
from runyard.environments.packages.model import TaskFilter, Version
from runyard.environments.packages.registry import Registry, RegistryLimits
from runyard.environments.packages.service import PackageService
from runyard.environments.packages.trees import Trees
from runyard.identity.model import Account, Principal
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.errors import NotFound, TooLarge, Unavailable
from runyard.kernel.tarballs import TarballLimits
from runyard.runtimes.isolation.workers import Workers
from tests.support.packages import digest_of, manifest_of, task

TOKEN = "an-admin-token"
LATER = timedelta(hours=2)


class Shelf:
    """A registry over one database and one folder, with two tenants and a clock of the test's own."""

    def __init__(self, database: Database, folder: Path, mine: Principal, theirs: Principal) -> None:
        self.mine, self.theirs = mine, theirs
        self.time = datetime.now(UTC)
        self.blobs, self.trees = BlobStore(folder / "blobs"), Trees(folder / "trees", TarballLimits())
        self.workers = Workers("test", 4)
        tenancy = TenancyService(database)
        limits = RegistryLimits(package_bytes=1 << 20, account_bytes=2 << 20)
        self.registry = Registry(database, self.blobs, self.trees, self.workers, limits, now=self.now)
        self.packages = PackageService(
            database, tenancy, self.registry, self.blobs, self.trees, self.workers, now=self.now
        )
        self.tenancy = tenancy

    def now(self) -> datetime:
        return self.time

    def age(self) -> None:
        """Let two hours pass."""
        self.time += LATER

    async def account(self, who: Principal) -> Account:
        return await self.tenancy.account_of(who.scope)

    async def upload(self, who: Principal, data: bytes) -> None:
        with self.registry.receive() as incoming:
            incoming.write(data)
            await self.registry.keep(who.scope.account_id, incoming, digest_of(data))

    async def push(self, who: Principal, layer: bytes, name: str = "demo", version: str = "0.1.0") -> str:
        await self.upload(who, b"{}")
        await self.upload(who, layer)
        return await self.registry.put_manifest(who, name, version, manifest_of(layer))


@pytest.fixture
async def shelf(database: Database, tmp_path: Path) -> AsyncIterator[Shelf]:
    identity = IdentityService(database)
    await identity.bootstrap(TOKEN)
    _, token = await identity.create_account("other", "Other")
    one = Shelf(
        database,
        tmp_path / "packages",
        await identity.authenticate(TOKEN),
        await identity.authenticate(token),
    )
    yield one
    one.workers.close()


async def test_pushes_at_once_make_one_package_with_one_latest(shelf: Shelf) -> None:
    versions = [f"0.{n}.0" for n in range(6)]
    await asyncio.gather(*(shelf.push(shelf.mine, task(version=v), version=v) for v in versions * 2))
    found, latest = await shelf.packages.versions(shelf.mine.scope, "default", "demo")
    assert [str(one) for one in found] == list(reversed(versions))
    assert latest.version == "0.5.0"
    listed, total = await shelf.packages.list(shelf.mine.scope, TaskFilter())
    assert ([one.ref for one in listed], total) == (["default/demo@0.5.0"], 1)


async def test_package_is_found_by_every_reference(shelf: Shelf) -> None:
    layer = task({"run.sh": "#!/bin/sh"})
    await shelf.push(shelf.mine, layer)
    for reference in ("demo", "demo@latest", "demo@0.1.0", "default/demo", "default/demo@0.1.0"):
        found = await shelf.packages.get(shelf.mine.scope, reference)
        assert found.ref == "default/demo@0.1.0"
    assert (found.root / "run.sh").read_text() == "#!/bin/sh"
    assert found.layer_digest == hashlib.sha256(layer).hexdigest()
    for reference in ("demo@0.2.0", "none", "other/demo", "nobody/demo"):
        with pytest.raises(TaskNotFound, match="Task not found"):
            await shelf.packages.get(shelf.mine.scope, reference)
    with pytest.raises(TaskNotFound):
        await shelf.packages.get(shelf.theirs.scope, "demo")
    await shelf.packages.set_public(shelf.mine, "demo", public=True)
    assert (await shelf.packages.get(shelf.theirs.scope, "demo")).org == "default"
    assert (await shelf.packages.get(shelf.theirs.scope, "default/demo@0.1.0")).public


async def test_own_package_is_preferred_to_a_public_one_of_its_name(shelf: Shelf) -> None:
    await shelf.push(shelf.mine, task())
    await shelf.packages.set_public(shelf.mine, "demo", public=True)
    await shelf.push(shelf.theirs, task(description="ours"))
    assert (await shelf.packages.get(shelf.theirs.scope, "demo")).org == "other"
    assert (await shelf.packages.get(shelf.mine.scope, "demo")).org == "default"


async def test_version_that_only_somebody_else_publishes_is_not_taken_for_an_own_one(shelf: Shelf) -> None:
    await shelf.push(shelf.mine, task(version="0.2.0"), version="0.2.0")
    await shelf.packages.set_public(shelf.mine, "demo", public=True)
    await shelf.push(shelf.theirs, task(description="ours"))
    with pytest.raises(TaskNotFound):
        await shelf.packages.get(shelf.theirs.scope, "demo@0.2.0")
    assert (await shelf.packages.get(shelf.theirs.scope, "default/demo@0.2.0")).org == "default"


async def test_same_bytes_are_kept_once_and_belong_to_each_that_brought_them(shelf: Shelf) -> None:
    layer = task()
    await shelf.push(shelf.mine, layer)
    theirs = await shelf.account(shelf.theirs)
    with pytest.raises(NotFound):
        await shelf.registry.stat_blob(theirs.id, theirs, digest_of(layer))
    with pytest.raises(BadPackage, match="not uploaded"):
        await shelf.registry.put_manifest(shelf.theirs, "demo", "0.1.0", manifest_of(layer))
    await shelf.push(shelf.theirs, layer)
    assert len(list(shelf.blobs.digests())) == 2
    await shelf.packages.delete(shelf.mine, "demo", None)
    shelf.age()
    await shelf.packages.sweep()
    source, size = await shelf.registry.open_blob(theirs.id, theirs, digest_of(layer))
    with source:
        assert (source.read(), size) == (layer, len(layer))
    assert (await shelf.packages.get(shelf.theirs.scope, "demo")).root.is_dir()


async def test_sweep_takes_what_nothing_uses_after_its_time(shelf: Shelf) -> None:
    layer = task()
    await shelf.push(shelf.mine, layer)
    await shelf.upload(shelf.mine, b"forgotten")
    root = (await shelf.packages.get(shelf.mine.scope, "demo")).root
    await shelf.packages.delete(shelf.mine, "demo", Version(0, 1, 0))
    assert await shelf.packages.sweep() == 0
    shelf.age()
    digest = root.name
    leave = shelf.packages.hold(digest)
    os.utime(root, (0, 0))
    await shelf.packages.sweep()
    assert root.is_dir()
    leave()

    async def needed() -> set[str]:
        return {digest}

    shelf.packages.holders.append(needed)
    os.utime(root, (0, 0))
    await shelf.packages.sweep()
    assert root.is_dir()
    shelf.packages.holders.clear()
    await shelf.packages.sweep()
    assert not root.exists()
    assert list(shelf.blobs.digests()) == []


async def test_push_during_a_sweep_loses_nothing(shelf: Shelf) -> None:
    layers = [task(description=f"d{n}") for n in range(8)]
    for layer in layers:
        await shelf.upload(shelf.mine, layer)
    shelf.age()

    async def pushed(n: int) -> None:
        await shelf.push(shelf.mine, layers[n], name=f"t{n}")

    async def swept() -> None:
        for _ in range(6):
            await shelf.packages.sweep()

    await asyncio.gather(swept(), *(pushed(n) for n in range(8)))
    await shelf.packages.sweep()
    mine = await shelf.account(shelf.mine)
    for n, layer in enumerate(layers):
        assert (await shelf.packages.get(shelf.mine.scope, f"t{n}")).root.is_dir()
        source, _ = await shelf.registry.open_blob(mine.id, mine, digest_of(layer))
        with source:
            assert source.read() == layer


async def test_content_outlives_its_version_while_somebody_holds_it(shelf: Shelf) -> None:
    await shelf.push(shelf.mine, task({"a.txt": "one"}))
    kept = (await shelf.packages.get(shelf.mine.scope, "demo")).kept
    await shelf.push(shelf.mine, task({"a.txt": "two"}, description="changed"))
    found = await shelf.packages.pinned(kept.ref, kept.layer_digest)
    assert found == kept
    assert (found.root / "a.txt").read_text() == "one"
    shelf.age()
    os.utime(kept.root, (0, 0))
    await shelf.packages.sweep()
    with pytest.raises(TaskNotFound, match="are gone"):
        await shelf.packages.pinned(kept.ref, kept.layer_digest)


async def test_folder_that_somebody_took_away_is_unpacked_again(shelf: Shelf) -> None:
    await shelf.push(shelf.mine, task({"a.txt": "a"}))
    root = (await shelf.packages.get(shelf.mine.scope, "demo")).root
    shelf.trees.hide(root.name)
    assert (await shelf.packages.get(shelf.mine.scope, "demo")).root == root
    assert (root / "a.txt").read_text() == "a"


async def test_what_a_killed_server_left_is_gone_at_the_next_start(shelf: Shelf, tmp_path: Path) -> None:
    with shelf.registry.receive() as incoming:
        incoming.write(b"half")
        (tmp_path / "packages" / "trees" / ".incoming.x").mkdir()
        BlobStore(tmp_path / "packages" / "blobs")
        Trees(tmp_path / "packages" / "trees", TarballLimits())
        assert os.listdir(tmp_path / "packages" / "blobs") == []
        assert os.listdir(tmp_path / "packages" / "trees") == []


async def test_bytes_that_are_wrong_or_too_many_are_refused(shelf: Shelf) -> None:
    account = shelf.mine.scope.account_id
    with shelf.registry.receive() as incoming:
        incoming.write(b"x")
        with pytest.raises(DigestMismatch):
            await shelf.registry.keep(account, incoming, digest_of(b"y"))
    with pytest.raises(TooLarge):
        await shelf.registry.check_room(account, (1 << 20) + 1)
    for n in range(2):
        await shelf.upload(shelf.mine, bytes([n]) * (1 << 20))
    with pytest.raises(TooLarge):
        await shelf.upload(shelf.mine, b"one more")
    await shelf.upload(shelf.theirs, b"one more")


def write_beyond_the_limit(shelf: Shelf) -> None:
    """Write more than the process may just now, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with shelf.registry.receive() as incoming:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            incoming.write(b"x" * (1 << 17))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_told_and_leaves_nothing(shelf: Shelf) -> None:
    with pytest.raises(Unavailable, match="no room"):
        write_beyond_the_limit(shelf)
    assert list(shelf.blobs.digests()) == []
