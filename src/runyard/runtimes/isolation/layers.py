"""Writable layers: the files that a sandbox has written, kept between its lives, and checkpoints of them.

Owns the folder `layers` of the engine's data folder. `start` picks the better of two stores: subvolumes of a btrfs
image with a size limit each, or plain directories without one. Knows nothing of mounts of sandboxes or of bases.
"""

import asyncio
import fcntl
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runyard.kernel.errors import InvalidArgument, NotFound, Unavailable
from runyard.runtimes.isolation.directories import DirectoryBackend
from runyard.runtimes.isolation.engine import CannotEnforce, Capability
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.pool import BtrfsPool, PoolUnavailable, Space
from runyard.runtimes.isolation.workers import Workers

_GUARD_SECONDS = 5.0
_log = logging.getLogger(__name__)
OVERLAYS = 2
"""Overlays that a layer has room for: `upper0`/`work0` for `/`, `upper1`/`work1` for `/usr`."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A writable layer on disk."""

    path: Path

    def upper(self, overlay: int) -> Path:
        """Return the upper folder of one overlay."""
        return self.path / f"upper{overlay}"

    def work(self, overlay: int) -> Path:
        """Return the work folder of one overlay."""
        return self.path / f"work{overlay}"


class LayerBackend(Protocol):
    """The blocking half: what a store must do; called in worker threads only."""

    bounded: bool

    def open(self) -> None:
        """Make the store usable."""
        ...

    def close(self) -> None:
        """Give back what `open` took."""
        ...

    def create(self, path: Path) -> None:
        """Make an empty folder for a layer."""
        ...

    def copy(self, source: Path, target: Path) -> int:
        """Make `target` a copy of a layer or checkpoint, whole or not at all; return its size in bytes."""
        ...

    def remove(self, path: Path) -> None:
        """Delete a layer or checkpoint."""
        ...

    def limit(self, path: Path, limit_bytes: int | None) -> None:
        """Bound the size of a layer."""
        ...

    def usage(self, path: Path) -> int:
        """Return the size of a layer in bytes."""
        ...

    def guard(self) -> None:
        """Adapt to the room that the disk below has now."""
        ...

    def space(self) -> Space:
        """Return the room in the store."""
        ...

    @property
    def root(self) -> Path:
        """Folder that holds `live` and `checkpoints`."""
        ...


class LayerStore:
    """All writable layers and checkpoints of one installation."""

    def __init__(self, options: IsolationOptions) -> None:
        """Take the settings; nothing is touched before `start`."""
        self._options = options
        self._workers = Workers("layers", 4)
        self._purger = Workers("layers-trash", 1)
        self._backend: LayerBackend = DirectoryBackend(options.data_dir / "layers")
        self._why_unbounded = ""
        self._lock_fd = -1
        self._guard: asyncio.Task[None] | None = None

    @property
    def bounded(self) -> bool:
        """Tell whether disk limits are enforced; valid after `start`."""
        return self._backend.bounded

    def lock(self) -> None:
        """Claim the data folder for this server. Of all that an engine starts this comes first, so that a second
        server never sweeps away what a living one uses. Harmless when done already. Raises Unavailable when another
        server has it.
        """
        if self._lock_fd < 0:
            folder = self._options.data_dir / "layers"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = _lock(folder / "lock")

    async def start(self) -> None:
        """Open the store. Waits up to 15 seconds for sandboxes of a killed server to end. Raises Unavailable when they
        do not, or when another server has the data folder.
        """
        self.lock()
        try:
            await self._workers.run(self._open)
        except BaseException:
            self._purger.close()
            self._unlock()
            raise
        self._guard = asyncio.create_task(self._keep_guard())

    async def stop(self) -> None:
        """Close the store; layers and checkpoints stay."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
            self._guard = None
        await asyncio.to_thread(self._purger.close)
        await self._workers.run(self._backend.close)
        self._workers.close()
        self._unlock()

    def capability(self) -> Capability:
        """Tell how disk limits are enforced; valid after `start`."""
        if self.bounded:
            return Capability(name="disk limit", enforced=True, how="btrfs subvolumes with quota groups")
        return Capability(
            name="disk limit",
            enforced=False,
            how=f"plain directories: {self._why_unbounded}",
            fix="run as root on a kernel with btrfs and loop devices, and install btrfs-progs",
        )

    async def prepare(
        self, layer_id: str, disk_bytes: int | None = None, restore_from: str | None = None
    ) -> Layer:
        """Return the kept layer of that id, or a new one: empty, or a copy of the checkpoint `restore_from`.
        Sets the limit in both cases. Raises CannotEnforce, NotFound (checkpoint), LimitExceeded (store full).
        """
        self._check_limit(disk_bytes)
        return await self._workers.run(self._prepare, layer_id, disk_bytes, restore_from)

    async def rename(self, layer_id: str, new_id: str) -> Layer:
        """Give a layer another id, also while it is mounted. Raises NotFound."""
        return await self._workers.run(self._rename, layer_id, new_id)

    async def set_limit(self, layer_id: str, disk_bytes: int | None) -> None:
        """Change the limit of a layer. Raises CannotEnforce, NotFound."""
        self._check_limit(disk_bytes)
        limit = disk_bytes if disk_bytes is not None else self._options.default_disk_bytes
        if self.bounded:
            await self._workers.run(self._backend.limit, self._existing(layer_id), limit)

    async def usage(self, layer_id: str) -> int | None:
        """Return the bytes that a layer holds; None when there is no such layer or telling is not cheap."""
        path = self._live(layer_id)
        if not self.bounded or not path.is_dir():
            return None
        return await self._workers.run(self._backend.usage, path)

    async def delete(self, layer_id: str) -> None:
        """Delete a layer; idempotent. Its space comes back some seconds later."""
        await self._workers.run(self._remove, self._live(layer_id))

    async def capture(self, layer_id: str, checkpoint_id: str) -> int:
        """Copy a layer into a checkpoint and return its size in bytes. Nobody may write to it meanwhile.
        An existing checkpoint of that id is replaced. Raises NotFound, LimitExceeded (store full).
        """
        source, target = self._existing(layer_id), self._checkpoint(checkpoint_id)
        return await self._workers.run(self._capture, source, target)

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Delete a checkpoint; idempotent."""
        await self._workers.run(self._remove, self._checkpoint(checkpoint_id))

    async def sweep(self, known_ids: Iterable[str], known_checkpoints: Iterable[str]) -> int:
        """Delete layers and checkpoints that nobody knows (left by a killed server); return how many."""
        return await self._workers.run(self._sweep, set(known_ids), set(known_checkpoints))

    async def space(self) -> Space:
        """Return the room in the store."""
        return await self._workers.run(self._backend.space)

    def has(self, layer_id: str) -> bool:
        """Tell whether there is a kept layer of that id."""
        return self._live(layer_id).is_dir()

    def ids(self) -> list[str]:
        """Return the ids of all kept layers."""
        entries = os.listdir(self._backend.root / "live")
        return sorted(name for name in entries if not name.startswith("."))

    def checkpoints(self) -> list[str]:
        """Return the ids of all checkpoints."""
        entries = os.listdir(self._backend.root / "checkpoints")
        return sorted(name for name in entries if not name.startswith("."))

    def _check_limit(self, disk_bytes: int | None) -> None:
        if disk_bytes is not None and not self.bounded:
            raise CannotEnforce(f"This host cannot limit disk use: {self._why_unbounded}.")

    async def _keep_guard(self) -> None:
        while True:
            await asyncio.sleep(_GUARD_SECONDS)
            try:
                await self._workers.run(self._backend.guard)
            except OSError:
                _log.warning("the room for layers cannot be adapted to the disk", exc_info=True)

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _open(self) -> None:
        folder = self._options.data_dir / "layers"
        pool = BtrfsPool(folder, self._options.disk_pool_bytes)
        try:
            if self._options.disk_pool_bytes <= 0:
                raise PoolUnavailable("the image is switched off in the settings")
            pool.open()
            self._backend = pool
        except PoolUnavailable as error:
            self._why_unbounded = str(error)
            self._backend.open()
        for name in ("live", "checkpoints", "trash"):
            (self._backend.root / name).mkdir(exist_ok=True, mode=0o700)
        # What a killed server left half made or half deleted.
        for leftover in [*self._backend.root.glob("*/.part-*"), *self._backend.root.glob("trash/*")]:
            self._remove(leftover)

    def _prepare(self, layer_id: str, disk_bytes: int | None, restore_from: str | None) -> Layer:
        path = self._live(layer_id)
        limit = disk_bytes if disk_bytes is not None else self._options.default_disk_bytes
        if path.is_dir():
            if self.bounded:
                self._backend.limit(path, limit)
            return Layer(path)
        part = _part(path)
        self._remove(part)
        try:
            self._fill(part, restore_from)
            if self.bounded and limit is not None:
                self._backend.limit(part, limit)
            part.rename(path)
        except BaseException:
            self._remove(part)
            raise
        return Layer(path)

    def _fill(self, part: Path, restore_from: str | None) -> None:
        if restore_from is not None:
            source = self._checkpoint(restore_from)
            if not source.is_dir():
                raise NotFound("There is no such checkpoint.")
            self._backend.copy(source, part)
            return
        self._backend.create(part)
        owner = self._options.uid_base if os.geteuid() == 0 else -1
        for overlay in range(OVERLAYS):
            for name in (f"upper{overlay}", f"work{overlay}"):
                folder = f"{part}/{name}"
                os.mkdir(folder, 0o755)
                os.chmod(folder, 0o755)  # noqa: S103 - whatever the umask: it is the root of a file system
                os.chown(folder, owner, owner)

    def _capture(self, source: Path, target: Path) -> int:
        part = _part(target)
        self._remove(part)
        try:
            size = self._backend.copy(source, part)
            self._remove(target)
            part.rename(target)
        except BaseException:
            self._remove(part)
            raise
        return size

    def _rename(self, layer_id: str, new_id: str) -> Layer:
        target = self._live(new_id)
        self._existing(layer_id).rename(target)
        return Layer(target)

    def _remove(self, path: Path) -> None:
        """Free the id at once; the files go in the background, where their folder keeps nobody else waiting."""
        aside = self._backend.root / "trash" / uuid.uuid4().hex
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        self._purger.later(self._backend.remove, aside)

    def _sweep(self, known_ids: set[str], known_checkpoints: set[str]) -> int:
        removed = 0
        for name, known in (("live", known_ids), ("checkpoints", known_checkpoints)):
            for entry in list(os.scandir(self._backend.root / name)):
                if entry.name not in known and not entry.name.startswith("."):
                    self._remove(Path(entry.path))
                    removed += 1
        return removed

    def _live(self, layer_id: str) -> Path:
        return self._backend.root / "live" / _safe(layer_id)

    def _checkpoint(self, checkpoint_id: str) -> Path:
        return self._backend.root / "checkpoints" / _safe(checkpoint_id)

    def _existing(self, layer_id: str) -> Path:
        path = self._live(layer_id)
        if not path.is_dir():
            raise NotFound("There is no such layer.")
        return path


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Unavailable("Another server already uses this data folder.") from None
    return fd


def _part(path: Path) -> Path:
    return path.with_name(f".part-{path.name}")


def _safe(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(name) > 200:
        raise InvalidArgument("An id of a layer must be a plain file name.")
    return name
