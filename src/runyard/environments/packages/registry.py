"""Verbs of the registry: how the bytes of a task package come in and go out. Owns who may read which blob, and what a
manifest must be; what a package means is the business of `service`.

Blobs are kept once, whoever uploads them. An account reads the blobs that it uploaded itself, and those of another
account's public tasks: that the same bytes exist elsewhere is nobody's business.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.errors import ReferenceViolation, UniqueViolation
from runyard.environments.packages import checks, store
from runyard.environments.packages.documents import read_yaml
from runyard.environments.packages.errors import BadPackage, DigestMismatch
from runyard.environments.packages.manifest import read_manifest
from runyard.environments.packages.model import NAME, VERSION, TaskManifest, Version, digest_hex
from runyard.environments.packages.trees import Trees
from runyard.identity.model import Account, Principal
from runyard.kernel.blobs import BlobStore, Incoming
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge, Unavailable
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, PackageId, TaskId
from runyard.runtimes.isolation.workers import Workers

CONFIG_TYPE: Final = "application/vnd.dreadnode.config.v1+json"
LAYER_TYPE: Final = "application/vnd.dreadnode.layer.v1.tar+gzip"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
KINDS: Final = ("environment", "task")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MAX_CONFIG_BYTES: Final = 4 << 20


class _Descriptor(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int


class _Manifest(msgspec.Struct, rename="camel"):
    schema_version: int
    config: _Descriptor
    layers: list[_Descriptor]
    media_type: str = MANIFEST_TYPE
    annotations: dict[str, str] = {}


_decoder: Final = msgspec.json.Decoder(_Manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLimits:
    """What one package and one account may take, in bytes."""

    package_bytes: int = 1 << 30
    account_bytes: int = 64 << 30


@dataclass(slots=True)
class Busy:
    """Digests that requests work on: a sweep leaves them alone. One server owns the data folder."""

    counts: dict[str, int] = field(default_factory=dict)
    seen: set[str] | None = None
    """What was taken up since a sweep asked the database; None while no sweep runs."""

    def enter(self, digest: str) -> Callable[[], None]:
        """Mark a digest; return what takes the mark away."""
        self.counts[digest] = self.counts.get(digest, 0) + 1
        if self.seen is not None:
            self.seen.add(digest)

        def leave() -> None:
            self.counts[digest] -= 1
            if not self.counts[digest]:
                del self.counts[digest]

        return leave

    def __contains__(self, digest: str) -> bool:
        """Tell whether a request works on a digest, or did since the sweep asked."""
        return digest in self.counts or (self.seen is not None and digest in self.seen)


class Registry:
    """The blobs and manifests of all accounts."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        trees: Trees,
        workers: Workers,
        limits: RegistryLimits,
        *,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._blobs = blobs
        self._trees = trees
        self._workers = workers
        self._now = now
        self.limits = limits
        self.busy = Busy()

    # --- blobs ---

    async def stat_blob(self, viewer: AccountId, owner: Account, digest: str) -> int:
        """Return the size of a blob that the viewer may read. Raises NotFound, InvalidArgument."""
        hexes = digest_hex(digest)
        async with self._database.transaction() as tx:
            if viewer == owner.id:
                # Whoever asks is about to push a manifest that names it.
                await store.touch_blob(tx, owner.id, hexes, self._now())
                size = await store.blob_size(tx, owner.id, hexes)
            elif await store.is_public_blob(tx, owner.id, hexes):
                size = await store.blob_size(tx, owner.id, hexes)
            else:
                size = None
        if size is None:
            raise NotFound(f"Blob not found: {digest}")
        return size

    async def open_blob(self, viewer: AccountId, owner: Account, digest: str) -> tuple[BinaryIO, int]:
        """Open a blob that the viewer may read and return it with its size; the caller closes it. Raises NotFound."""
        size = await self.stat_blob(viewer, owner, digest)
        return self._blobs.open(digest_hex(digest)), size

    async def check_room(self, account_id: AccountId, size: int) -> None:
        """Refuse what is too much for one package or one account. Raises TooLarge."""
        if size > self.limits.package_bytes:
            raise TooLarge(f"a task package has at most {self.limits.package_bytes} bytes")
        async with self._database.read() as tx:
            have = await store.bytes_of(tx, account_id)
        if have + size > self.limits.account_bytes:
            raise TooLarge(f"an organization's task packages have at most {self.limits.account_bytes} bytes")

    @contextmanager
    def receive(self) -> Iterator[Incoming]:
        """Begin to store bytes that come in pieces; `keep` at the end. Raises Unavailable when the disk is full."""
        with _full_disk_said(), self._blobs.receive() as incoming:
            yield incoming

    async def keep(self, account_id: AccountId, incoming: Incoming, digest: str) -> None:
        """Keep what came as a blob of the account. Raises DigestMismatch, InvalidArgument, TooLarge."""
        hexes = digest_hex(digest)
        if incoming.digest != hexes:
            raise DigestMismatch(f"the bytes have the digest sha256:{incoming.digest}, not {digest}")
        with ExitStack() as stack:
            stack.callback(self.busy.enter(hexes))
            async with self._database.read() as tx:
                have = await store.blob_size(tx, account_id, hexes)
            if have is None:
                await self.check_room(account_id, incoming.size)
            await self._workers.run(incoming.keep)
            try:
                async with self._database.transaction() as tx:
                    await store.keep_blob(tx, account_id, hexes, incoming.size, self._now())
            except UniqueViolation:
                pass  # another upload of the same bytes by the same account was faster

    # --- manifests ---

    async def put_manifest(self, caller: Principal, name: str, reference: str, raw: bytes) -> str:
        """Take in a version of a task whose blobs are there, and return the digest of its manifest. The same version
        again replaces what was there. Raises BadPackage with every problem.
        """
        if not NAME.match(name):
            raise BadPackage("a task's name is kebab-case, such as my-task")
        if not VERSION.match(reference):
            raise BadPackage("a task is pushed under its version, MAJOR.MINOR.PATCH")
        config, layer = _checked_manifest(raw)
        with ExitStack() as stack:
            for digest in (config.digest, layer.digest):
                stack.callback(self.busy.enter(digest))
            await self._check_blobs(caller.scope.account_id, config, layer)
            read, readme = await self._workers.run(self._ingest, config.digest, layer.digest)
            if str(read.version) != reference:
                raise BadPackage(f"version: task.yaml says {read.version}, and it is pushed as {reference}")
            digest = hashlib.sha256(raw).hexdigest()
            row = {
                **_columns(read, name),
                "config_digest": config.digest,
                "layer_digest": layer.digest,
                "manifest_digest": digest,
                "manifest": raw,
                "size": layer.size,
                "readme": readme,
                "created_at": self._now(),
                "created_by": caller.user_name,
            }
            await self._record(caller, row, read)
        return digest

    async def _record(self, caller: Principal, row: dict[str, Any], read: TaskManifest) -> None:
        for attempt in (1, 2):
            try:
                await self._database.run(lambda tx: self._insert(tx, caller, row, read))
                return
            except UniqueViolation:
                if attempt == 2:  # the first push of a name, twice at once: now there is a package to lock
                    raise
            except ReferenceViolation:
                raise BadPackage("a blob of the package was removed meanwhile; push it again") from None

    async def _insert(
        self, tx: Transaction, caller: Principal, row: dict[str, Any], read: TaskManifest
    ) -> None:
        account_id, now = caller.scope.account_id, self._now()
        found = await store.lock_package(tx, account_id, row["name"])
        package_id = PackageId.new() if found is None else PackageId(found.id)
        if found is None:
            new = {
                "id": package_id,
                "account_id": account_id,
                "name": row["name"],
                "is_public": False,
                "created_at": now,
            }
            await store.insert_package(tx, new)
        replaced = await store.delete_version(tx, package_id, read.version)
        whole = {
            **row,
            "id": TaskId.new(),
            "package_id": package_id,
            "account_id": account_id,
            "latest": False,
        }
        await store.insert_version(tx, whole, read.tags)
        await store.mark_latest(tx, package_id)
        event = Event(
            account_id=account_id,
            subject_kind="task",
            subject_id=package_id,
            type="task.pushed",
            actor=caller.actor,
            at=now,
            body={"name": row["name"], "version": str(read.version), "replaced": replaced},
        )
        await tx.record(event)

    async def _check_blobs(self, account_id: AccountId, *parts: _Descriptor) -> None:
        async with self._database.read() as tx:
            for part in parts:
                size = await store.blob_size(tx, account_id, part.digest)
                if size is None:
                    raise BadPackage(f"the blob sha256:{part.digest} was not uploaded")
                if size != part.size:
                    raise BadPackage(f"the blob sha256:{part.digest} has {size} bytes, not {part.size}")

    def _ingest(self, config: str, layer: str) -> tuple[TaskManifest, str | None]:
        """Unpack and check a package. Blocking. Raises BadPackage."""
        _check_config(self._blobs, config)
        with _full_disk_said(), self._blobs.open(layer) as source:
            return self._trees.take_in(layer, source, read_task)


@contextmanager
def _full_disk_said() -> Iterator[None]:
    """Turn a disk without room into an error that says so: it is neither the caller's fault nor a mistake."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable("the server has no room for task packages now") from None
        raise


def read_task(root: Path) -> tuple[TaskManifest, str | None]:
    """Read and check the task in a folder; return its manifest and its readme. Raises BadPackage."""
    path = root / "task.yaml"
    if not path.is_file():
        raise BadPackage("task.yaml: file not found at the root of the package")
    manifest = read_manifest(read_yaml(path, "task.yaml"))
    checks.check_files(manifest, root)
    return manifest, checks.read_readme(root)


def _check_config(blobs: BlobStore, digest: str) -> None:
    if blobs.size(digest) > MAX_CONFIG_BYTES:
        raise BadPackage(f"the config has more than {MAX_CONFIG_BYTES} bytes")
    try:
        found = msgspec.json.decode(blobs.get(digest))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadPackage("the config is no JSON object")


def _checked_manifest(raw: bytes) -> tuple[_Descriptor, _Descriptor]:
    """Return config and layer of a manifest, their digests as hexadecimal digits. Raises BadPackage."""
    try:
        manifest = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPackage(f"the manifest is no OCI image manifest: {error}") from None
    kind = manifest.annotations.get("io.dreadnode.type", "environment")
    if manifest.schema_version != 2 or manifest.media_type != MANIFEST_TYPE:
        raise BadPackage("the manifest is no OCI image manifest of schema version 2")
    if kind not in KINDS:
        raise BadPackage(f"this server keeps packages of the type environment, not {kind[:64]!r}")
    if manifest.config.media_type != CONFIG_TYPE:
        raise BadPackage(f"the config must have the media type {CONFIG_TYPE}")
    if len(manifest.layers) != 1 or manifest.layers[0].media_type != LAYER_TYPE:
        raise BadPackage(f"a task package has one layer, with the media type {LAYER_TYPE}")
    parts = manifest.config, manifest.layers[0]
    try:
        for part in parts:
            part.digest = digest_hex(part.digest)
    except InvalidArgument as error:
        raise BadPackage(error.message) from None
    return parts


def _columns(read: TaskManifest, name: str) -> dict[str, Any]:
    version: Version = read.version
    words = (name, read.description, read.author, read.source, read.difficulty, *read.tags)
    return {
        "name": name,
        "major": version.major,
        "minor": version.minor,
        "patch": version.patch,
        "document": dict(read.document),
        "difficulty": read.difficulty,
        "source": read.source,
        "author": read.author,
        "words": " ".join(word for word in words if word).lower(),
    }
