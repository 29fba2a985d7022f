"""Bases: the read-only file systems that sandboxes start from. Owns the id-mapped mounts and the folder `bases`.

A base is a list of overlays, whose lower folders may be used by any number of sandboxes at once. Imported images are
kept by `images.py`; writable layers by `layers.py`. Nothing of a sandbox is known here.
"""

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard.kernel.errors import NotFound, Unavailable
from runyard.runtimes.isolation import hostns, skeleton, syscalls
from runyard.runtimes.isolation.engine import BaseFacts, BaseKind, Capability
from runyard.runtimes.isolation.images import Image, ImageStore
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.program import find_agent
from runyard.runtimes.isolation.scan import Scan
from runyard.runtimes.isolation.workers import Workers

HOST = "host"
_RESOLV_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay mount of a base."""

    target: str
    """Where it goes, `/` first."""
    lowers: tuple[Path, ...]
    """Lower folders, the uppermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A prepared base."""

    name: str
    overlays: tuple[Overlay, ...]
    default_env: Mapping[str, str] = field(default_factory=lambda: {"PATH": skeleton.PATH})
    default_workdir: str = "/root"


def image_facts(image: Image) -> BaseFacts:
    """Return an imported image as a base."""
    return BaseFacts(
        name=image.name,
        kind=BaseKind.IMAGE,
        digest=image.digest,
        created_at=image.created_at,
        size_bytes=image.size_bytes,
        env=image.env,
        workdir=image.workdir,
        user=image.user,
        entrypoint=image.entrypoint,
        command=image.command,
    )


class BaseStore:
    """Prepares bases on demand and keeps them mounted."""

    def __init__(self, options: IsolationOptions, images: ImageStore) -> None:
        """Take the settings; nothing is touched before `start`."""
        self._options = options
        self._images = images
        self._folder = options.data_dir / "bases"
        self._workers = Workers("bases", 2)
        self._prepared: dict[str, asyncio.Task[Base]] = {}
        self._mounts: list[Path] = []
        self._map_fd = -1
        self._serial = 0

    async def start(self) -> None:
        """Clear away what an earlier server built and open the id mapping. Raises Unavailable."""
        await self._workers.run(self._open)

    async def stop(self) -> None:
        """Unmount all bases. Sandboxes that still use one keep it alive until they end."""
        for task in self._prepared.values():
            task.cancel()
        self._prepared.clear()
        await self._workers.run(self._close)
        self._workers.close()

    def facts(self) -> list[BaseFacts]:
        """Return what `prepare` accepts."""
        folders = self._options.directory_bases
        return [
            BaseFacts(name=HOST, kind=BaseKind.HOST),
            *(BaseFacts(name=f"dir:{name}", kind=BaseKind.DIRECTORY) for name in folders),
            *(image_facts(image) for image in self._images.all()),
        ]

    async def prepare(self, name: str) -> Base:
        """Return a base, building and mounting it at the first call (for `host` about a second). Raises NotFound,
        Unavailable.
        """
        task = self._prepared.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.ensure_future(self._workers.run(self._build, name))
            self._prepared[name] = task
        # Shielded: one caller who gives up must not spoil it for the others.
        return await asyncio.shield(task)

    def forget(self, name: str) -> None:
        """Build a base anew at the next `prepare`, after its image was replaced or removed."""
        self._prepared.pop(name, None)

    def nameservers(self) -> list[str]:
        """Return the resolvers that sandboxes are told."""
        return list(self._options.nameservers) or skeleton.host_nameservers(_RESOLV_FILES)

    def capability(self) -> Capability:
        """Tell whether bases are shown under ids of their own; valid after `start`."""
        return Capability(name="id-mapped bases", enforced=self._map_fd >= 0, how="id-mapped bind mounts")

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in list(self._folder.iterdir()):
            self._discard(leftover)
        try:
            self._map_fd = hostns.open_id_map(self._options.uid_base)
        except OSError as error:
            raise Unavailable(f"Bases cannot be id-mapped: {error}.") from error

    def _close(self) -> None:
        for mount in reversed(self._mounts):
            with contextlib.suppress(OSError):
                syscalls.umount(mount, syscalls.MNT_DETACH)
        self._mounts.clear()
        if self._map_fd >= 0:
            os.close(self._map_fd)
            self._map_fd = -1

    def _discard(self, folder: Path) -> None:
        # Without a private mount namespace a killed server leaves its mounts, and deleting through one would delete
        # the base itself. os.path.ismount does not see bind mounts within one file system, so ask the kernel.
        for child in folder.iterdir():
            if child.is_dir():
                self._unmount_all(child)
        shutil.rmtree(folder)

    @staticmethod
    def _unmount_all(path: Path) -> None:
        while True:
            try:
                syscalls.umount(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
            except OSError as error:
                if error.errno == errno.EINVAL:  # not a mount point, or no longer one
                    return
                raise

    def _build(self, name: str) -> Base:
        try:
            if name == HOST:
                return self._build_host()
            if name.startswith("dir:"):
                return self._build_directory(name)
            return self._build_image(name)
        except (OSError, ValueError) as error:
            raise Unavailable(f"The base {name} cannot be prepared: {error}.") from error

    def _build_host(self) -> Base:
        folder = self._new_folder()
        usr = self._bind(Path("/usr"), folder / "usr")
        root, mask = folder / "root", folder / "mask"
        opaque = skeleton.opaque_below_usr(self._options.host_base_hidden)
        # The mount is scanned, not /usr: it also shows what other mounts below /usr cover.
        with Scan(find_agent(self._options), usr, opaque) as scan:
            skeleton.build_root(root, Path("/"), self._options.uid_base, self.nameservers())
            skeleton.build_usr_mask(mask, usr, self._options.uid_base, opaque, scan.unreadable())
        return Base(name=HOST, overlays=(Overlay("/", (root,)), Overlay("/usr", (mask, usr))))

    def _build_directory(self, name: str) -> Base:
        source = self._options.directory_bases.get(name.removeprefix("dir:"))
        if source is None:
            raise NotFound(f"There is no base {name}.")
        return Base(name=name, overlays=(self._foreign_root(source),))

    def _build_image(self, name: str) -> Base:
        image = self._images.get(name)
        return Base(
            name=name,
            overlays=(self._foreign_root(image.root),),
            default_env={"PATH": skeleton.PATH, **image.env},
            default_workdir=image.workdir or "/",
        )

    def _foreign_root(self, source: Path) -> Overlay:
        folder = self._new_folder()
        root, top = self._bind(source, folder / "root"), folder / "top"
        skeleton.build_overlay_top(top, self._options.uid_base, self.nameservers())
        return Overlay("/", (top, root))

    def _new_folder(self) -> Path:
        self._serial += 1
        folder = self._folder / str(self._serial)
        folder.mkdir(mode=0o755)
        return folder

    def _bind(self, source: Path, target: Path) -> Path:
        target.mkdir()
        hostns.bind_id_mapped(source, target, self._map_fd)
        self._mounts.append(target)
        return target
