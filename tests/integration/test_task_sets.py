"""Task sets on both databases: the order of members, filters, and who resolves what."""

from pathlib import Path

import pytest
from sqlalchemy import insert

from runyard.database.engine import Database
from runyard.environments.packages.registry import Registry, RegistryLimits
from runyard.environments.packages.service import PackageService
from runyard.environments.packages.tables import package_blobs, task_packages, task_versions
from runyard.environments.packages.trees import Trees
from runyard.environments.tasksets.model import Content, SetFilter, TaskSetNotFound, read_member
from runyard.environments.tasksets.service import TaskSetService
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import AlreadyExists
from runyard.kernel.ids import PackageId, TaskId
from runyard.kernel.tarballs import TarballLimits
from runyard.runtimes.isolation.workers import Workers

TOKEN = "an-admin-token"


class Cabinet:
    """The sets of two tenants, and tasks that are rows only: no file of theirs is looked at."""

    def __init__(self, database: Database, folder: Path, mine: Principal, theirs: Principal) -> None:
        self.database, self.mine, self.theirs = database, mine, theirs
        blobs, trees, workers = (
            BlobStore(folder / "blobs"),
            Trees(folder / "trees", TarballLimits()),
            Workers("t", 1),
        )
        tenancy = TenancyService(database)
        registry = Registry(database, blobs, trees, workers, RegistryLimits())
        packages = PackageService(database, tenancy, registry, blobs, trees, workers)
        self.sets = TaskSetService(database, tenancy, packages)

    async def add_task(self, name: str, versions: tuple[int, ...], *, public: bool) -> None:
        account, now, package = self.mine.scope.account_id, utc_now(), PackageId.new()
        digest = name.ljust(64, "0")
        async with self.database.transaction() as tx:
            blob = {"account_id": account, "digest": digest, "size": 1, "used_at": now}
            await tx.execute(insert(package_blobs), blob)
            row = {"id": package, "account_id": account, "name": name, "is_public": public, "created_at": now}
            await tx.execute(insert(task_packages), row)
            for minor in versions:
                version = {
                    "id": TaskId.new(), "package_id": package, "account_id": account, "name": name, "major": 0,
                    "minor": minor, "patch": 0, "latest": minor == max(versions), "config_digest": digest,
                    "layer_digest": digest, "manifest_digest": digest, "manifest": b"", "size": 1, "document": {},
                    "words": name, "created_at": now, "created_by": "t",
                }  # fmt: skip
                await tx.execute(insert(task_versions), version)


@pytest.fixture
async def cabinet(database: Database, tmp_path: Path) -> Cabinet:
    identity = IdentityService(database)
    await identity.bootstrap(TOKEN)
    _, token = await identity.create_account("other", "Other")
    return Cabinet(database, tmp_path, await identity.authenticate(TOKEN), await identity.authenticate(token))


async def test_sets_are_kept_found_resolved_and_removed(cabinet: Cabinet) -> None:
    await cabinet.add_task("open", (2, 10, 9), public=True)
    await cabinet.add_task("closed", (1,), public=False)
    references = ["default/open", "default/closed", "default/open@0.2.0", "default/open@0.3.0", "nobody/x"]
    content = Content(
        description="Words", tags=("b", "a", "b"), members=[read_member(one) for one in references]
    )
    made = await cabinet.sets.create(cabinet.mine, "web", content, public=True)
    assert [str(member) for member, _ in made.members] == references
    assert [str(one.version) for _, one in made.members] == ["0.10.0", "0.1.0", "0.2.0", "None", "None"]
    assert [one.known for _, one in made.members] == [True, True, True, True, False]
    assert (made.found.tags, made.found.member_count) == (("a", "b"), 5)
    seen = await cabinet.sets.get(cabinet.theirs.scope, "default", "web")
    assert [str(one.version) for _, one in seen.members] == ["0.10.0", "None", "0.2.0", "None", "None"]
    with pytest.raises(AlreadyExists):
        await cabinet.sets.create(cabinet.mine, "web", content, public=False)
    await cabinet.sets.set_public(cabinet.mine, "web", public=False)
    with pytest.raises(TaskSetNotFound):
        await cabinet.sets.get(cabinet.theirs.scope, "default", "web")
    await cabinet.sets.replace(cabinet.mine, "web", Content(members=[read_member("default/open")]))
    assert (await cabinet.sets.get(cabinet.mine.scope, "default", "web")).found.tags == ()
    await cabinet.sets.delete(cabinet.mine, "web")
    for verb in (
        cabinet.sets.delete(cabinet.mine, "web"),
        cabinet.sets.replace(cabinet.mine, "web", Content()),
    ):
        with pytest.raises(TaskSetNotFound):
            await verb


async def test_listing_narrows_by_each_field(cabinet: Cabinet) -> None:
    for name, tags, source, members in (
        ("one", ("x", "y"), "s", ["default/a"]),
        ("two", ("y",), "s", ["default/a@0.1.0"]),
        ("three", (), None, ["default/b"]),
    ):
        content = Content(source=source, tags=tags, members=[read_member(member) for member in members])
        await cabinet.sets.create(cabinet.mine, name, content, public=name == "two")

    async def names(who: Principal, **fields: object) -> list[str]:
        wanted = SetFilter(sort_by="name", descending=False, **fields)  # type: ignore[arg-type]
        found, total = await cabinet.sets.list(who.scope, wanted)
        assert total == len(found)
        return [one.name for one in found]

    mine = cabinet.mine
    assert await names(mine) == ["one", "three", "two"]
    assert await names(mine, tags=("x", "y")) == ["one", "two"]
    assert await names(mine, sources=("s",), tags=("x",)) == ["one"]
    assert await names(mine, contains=read_member("default/a")) == ["one", "two"]
    assert await names(mine, contains=read_member("default/a@0.1.0")) == ["two"]
    assert await names(mine, search="TH") == ["three"]
    assert await names(cabinet.theirs, include_public=True) == ["two"]
    assert await names(cabinet.theirs) == []
    facets = await cabinet.sets.facets(mine.scope, SetFilter(tags=("x",)))
    assert {name: dict(counted) for name, counted in facets.items()} == {
        "source": {"s": 1},
        "tags": {"x": 1, "y": 1},
    }
    page, total = await cabinet.sets.list(mine.scope, SetFilter(limit=2, page=2))
    assert ([one.name for one in page], total) == (["one"], 3)
