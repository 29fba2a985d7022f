"""Verbs of task packages: find, list, publish, delete, sweep. How a package comes in is the registry's business."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row

from runyard.database.engine import Database, Transaction
from runyard.database.errors import ReferenceViolation
from runyard.environments.packages import store
from runyard.environments.packages.errors import TaskNotFound
from runyard.environments.packages.manifest import read_manifest
from runyard.environments.packages.model import (
    LATEST,
    KeptTask,
    TaskFilter,
    TaskManifest,
    TaskPackage,
    TaskRef,
    Version,
)
from runyard.environments.packages.registry import Registry, read_task
from runyard.environments.packages.trees import Trees
from runyard.identity.model import Principal, Scope
from runyard.identity.tenancy import TenancyService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import NotFound
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, TaskId
from runyard.runtimes.isolation.workers import Workers

GRACE: Final = timedelta(hours=1)
"""How long bytes stay that nothing uses: a push uploads them before its manifest names them."""
_SWEPT_AT_ONCE: Final = 1000
_LOOKED_UP_AT_ONCE: Final = 200
Holder = Callable[[], Awaitable[AbstractSet[str]]]
"""Tells which layers something still needs the files of, by digest."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference is for somebody: the version that it means, None when there is none to see."""

    version: Version | None
    known: bool
    """There is such a task to see, be it in other versions."""
    public: bool


class PackageService:
    """The task packages of all accounts."""

    def __init__(
        self,
        database: Database,
        tenancy: TenancyService,
        registry: Registry,
        blobs: BlobStore,
        trees: Trees,
        workers: Workers,
        *,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._tenancy = tenancy
        self._registry = registry
        self._blobs = blobs
        self._trees = trees
        self._workers = workers
        self._now = now
        self.holders: list[Holder] = []
        """Whoever uses files of layers after their package is gone adds itself here; asked at every sweep."""

    async def get(self, scope: Scope, reference: str) -> TaskPackage:
        """Find `[org/]name[@version]`: of the caller's own account, or, where that has no task of the name in any version,
        a public one of another: else anybody could publish the version that an account is about to push, and be run with
        its secrets. Its files are there. Raises TaskNotFound.
        """
        ref = TaskRef.parse(reference)
        async with self._database.read() as tx:
            if ref.org is None:
                row = await store.find(tx, scope.account_id, ref.name, ref.version)
                own = row or await store.find(tx, scope.account_id, ref.name, None)
                others = [] if own else await store.find_public(tx, ref.name, ref.version)
            else:
                row, others = None, []
        if len(others) > 1:
            raise TaskNotFound(
                f"Task not found: several organizations publish {ref.name!r}; name one of them"
            )
        if others:
            row = others[0]
        if ref.org is not None:
            return await self.of(scope, ref.org, ref.name, ref.version)
        if row is None:
            raise TaskNotFound(f"Task not found: {reference[:200]}")
        return await self._whole(row)

    async def of(self, scope: Scope, org: str, name: str, version: Version | None) -> TaskPackage:
        """Find a task of one organization, None meaning the latest version. Raises TaskNotFound."""
        account_id = await self._owner(scope, org)
        row = None
        if account_id is not None:
            async with self._database.read() as tx:
                row = await store.find(tx, account_id, name, version)
        if row is None or not _visible(row, scope):
            raise TaskNotFound(f"Task not found: {org}/{name}{f'@{version}' if version else ''}")
        return await self._whole(row)

    async def resolve(
        self, scope: Scope, references: Sequence[tuple[str, str, Version | None]]
    ) -> Sequence[Resolved]:
        """Tell what many references (organization, name, version) are for a caller, in their order."""
        wanted = list(dict.fromkeys((org, name) for org, name, _ in references))
        known: dict[tuple[str, str], list[Row[Any]]] = {}
        for start in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
            async with self._database.read() as tx:
                rows = await store.named(tx, wanted[start : start + _LOOKED_UP_AT_ONCE])
            for row in rows:
                if _visible(row, scope):
                    known.setdefault((row.org, row.name), []).append(row)
        return [_resolved(known.get((org, name), ()), version) for org, name, version in references]

    async def pinned(self, ref: str, layer_digest: str) -> KeptTask:
        """Return the content that a reference had when its layer had a digest, whatever became of the reference. Whoever
        keeps the digest is a holder of it. Raises TaskNotFound when the files are gone.
        """
        root = self._trees.path(layer_digest)
        try:
            manifest, _ = await self._workers.run(self._unpacked, layer_digest)
        except NotFound:
            raise TaskNotFound(f"Task not found: the files of {ref} are gone") from None
        return KeptTask(ref=ref, layer_digest=layer_digest, manifest=manifest, root=root)

    async def by_reference(self, scope: Scope, org: str, name: str, reference: str) -> tuple[bytes, str]:
        """Return the manifest of a version, of `latest` or of a digest, with its digest. Raises TaskNotFound."""
        account_id = await self._owner(scope, org)
        row = None
        if account_id is not None:
            async with self._database.read() as tx:
                if reference.startswith("sha256:"):
                    row = await store.by_manifest(tx, account_id, name, reference[7:])
                elif reference == LATEST:
                    row = await store.find(tx, account_id, name, None)
                else:
                    row = await store.find(tx, account_id, name, parsed(reference, name))
        if row is None or not _visible(row, scope):
            raise TaskNotFound(f"Task not found: {org}/{name}:{reference[:80]}")
        return bytes(row.manifest), str(row.manifest_digest)

    async def versions(self, scope: Scope, org: str, name: str) -> tuple[Sequence[Version], TaskPackage]:
        """Return the versions of a task, the highest first, and the highest one. Raises TaskNotFound."""
        latest = await self.of(scope, org, name, None)
        async with self._database.read() as tx:
            return await store.versions(tx, latest.account_id, name), latest

    async def list(self, scope: Scope, wanted: TaskFilter) -> tuple[Sequence[TaskPackage], int]:
        """List the latest versions that a filter matches, one page of them, and count all."""
        async with self._database.read() as tx:
            rows, total = await store.page(tx, scope.account_id, wanted)
        return [self._package(row) for row in rows], total

    async def facets(self, scope: Scope, *, include_public: bool) -> Mapping[str, Sequence[tuple[str, int]]]:
        """Count the values by which a listing can be filtered."""
        async with self._database.read() as tx:
            return await store.facets(tx, scope.account_id, include_public=include_public)

    async def set_public(self, caller: Principal, name: str, *, public: bool) -> None:
        """Show all versions of a task of the caller's account to everybody, or to its account only. Raises TaskNotFound."""

        async def change(tx: Transaction) -> None:
            package = await store.lock_package(tx, caller.scope.account_id, name)
            if package is None:
                raise TaskNotFound(f"Task not found: {name[:200]}")
            if bool(package.is_public) != public:
                await store.set_public(tx, package.id, public=public)
                what = "published" if public else "unpublished"
                await tx.record(self._event(caller, package.id, what, {"name": name}))

        await self._database.run(change)

    async def delete(self, caller: Principal, name: str, version: Version | None) -> None:
        """Remove one version of a task of the caller's account, None meaning the latest one. Environments that were made
        from it live on. Raises TaskNotFound.
        """
        account_id = caller.scope.account_id

        async def remove(tx: Transaction) -> None:
            package = await store.lock_package(tx, account_id, name)
            row = None if package is None else await store.find(tx, account_id, name, version)
            if package is None or row is None:
                raise TaskNotFound(f"Task not found: {name[:200]}{f'@{version}' if version else ''}")
            gone = Version(row.major, row.minor, row.patch)
            await store.delete_version(tx, package.id, gone)
            if not await store.mark_latest(tx, package.id):
                await store.delete_package(tx, package.id)
            body = {"name": name, "version": str(gone)}
            await tx.record(self._event(caller, package.id, "deleted", body))

        await self._database.run(remove)

    async def sweep(self) -> int:
        """Remove the bytes and folders that nothing has used for a while; return how many blobs and folders went."""
        before = self._now() - GRACE
        async with self._database.read() as tx:
            unused = await store.unused_blobs(tx, before, _SWEPT_AT_ONCE)
        for account_id, digest in unused:
            try:
                async with self._database.transaction() as tx:
                    await store.drop_blob(tx, account_id, digest, before)
            except ReferenceViolation:
                continue  # a push came in between
        held = set[str]().union(*[await holder() for holder in self.holders])
        blobs = await self._workers.run(lambda: list(self._blobs.digests()))
        gone = await self._remove(blobs, store.used_blobs, self._blobs.delete)
        trees = await self._workers.run(lambda: list(self._trees.stale(GRACE.total_seconds())))
        gone += await self._remove(
            [one for one in trees if one not in held], store.used_layers, self._trees.hide
        )
        await self._workers.run(self._trees.drop_hidden)
        if gone:
            _log.info("packages.swept", removed=gone)
        return gone

    async def _remove(
        self,
        digests: Sequence[str],
        used: Callable[[Transaction, Sequence[str]], Awaitable[AbstractSet[str]]],
        remove: Callable[[str], None],
    ) -> int:
        """Remove what nothing uses. A push that takes something up while the database is asked may be through before the
        answer, which does not know of it; so what was taken up since is remembered. Nothing is awaited between that look
        and the removals.
        """
        gone, busy = 0, self._registry.busy
        for start in range(0, len(digests), _LOOKED_UP_AT_ONCE):
            some, busy.seen = digests[start : start + _LOOKED_UP_AT_ONCE], set()
            async with self._database.read() as tx:
                needed = await used(tx, some)
            doomed = [digest for digest in some if digest not in needed and digest not in busy]
            for digest in doomed:
                remove(digest)
            gone, busy.seen = gone + len(doomed), None
        return gone

    def hold(self, layer_digest: str) -> Callable[[], None]:
        """Keep the files of a layer for as long as whoever asks needs them; return what lets go."""
        return self._registry.busy.enter(layer_digest)

    async def _owner(self, scope: Scope, org: str) -> AccountId | None:
        own = await self._tenancy.account_of(scope)
        if org in (own.slug, own.id):
            return own.id
        other = await self._tenancy.account_named(org)
        return None if other is None else other.id

    async def _whole(self, row: Row[Any]) -> TaskPackage:
        """Return a package whose files are there: unpacked again when somebody took the folder away."""
        package = self._package(row)
        if not package.root.is_dir():
            await self._workers.run(self._unpacked, package.layer_digest)
        return package

    def _unpacked(self, digest: str) -> tuple[TaskManifest, str | None]:
        """Return what is in the folder of a layer, unpacking it when it is not there. Blocking. Raises NotFound."""
        if self._trees.path(digest).is_dir():
            return read_task(self._trees.path(digest))
        with self._blobs.open(digest) as source:
            return self._trees.take_in(digest, source, read_task)

    def _package(self, row: Row[Any]) -> TaskPackage:
        # What was accepted once must stay readable: rules of a manifest may become wider, never narrower.
        return TaskPackage(
            id=TaskId(row.id),
            account_id=AccountId(row.account_id),
            org=row.org,
            name=row.name,
            version=str(Version(row.major, row.minor, row.patch)),
            public=bool(row.is_public),
            manifest=read_manifest(row.document),
            config_digest=row.config_digest,
            layer_digest=row.layer_digest,
            manifest_digest=row.manifest_digest,
            size_bytes=row.size,
            readme=row.readme,
            created_at=row.created_at,
            created_by=row.created_by,
            root=self._trees.path(row.layer_digest),
        )

    def _event(self, caller: Principal, subject_id: str, what: str, body: dict[str, Any]) -> Event:
        return Event(
            account_id=caller.scope.account_id,
            subject_kind="task",
            subject_id=subject_id[:64],
            type=f"task.{what}",
            actor=caller.actor,
            at=self._now(),
            body=body,
        )


def parsed(reference: str, name: str) -> Version | None:
    """Return the version of a task that a path names, None for `latest`. Raises TaskNotFound for what is none."""
    return TaskRef.parse(f"{name}@{reference}").version


def _resolved(rows: Sequence[Row[Any]], wanted: Version | None) -> Resolved:
    for row in rows:
        version = Version(row.major, row.minor, row.patch)
        if version == wanted or (wanted is None and row.latest):
            return Resolved(version, True, bool(row.is_public))
    return Resolved(None, bool(rows), False)


def _visible(row: Row[Any], scope: Scope) -> bool:
    return bool(row.is_public) or row.account_id == scope.account_id
