"""Imported images: OCI image layouts unpacked once into plain root file systems. Owns the folder `images`.

Layouts are read from disk only; fetching them is somebody else's work. Everything in a layout is hostile: digests are
verified before anything is unpacked, and `unpacking.py` contains the archives.
"""

import asyncio
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote, unquote

from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, Unavailable
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.unpacking import BadImage, Budget, Unpacker, scan_layer
from runyard.runtimes.isolation.workers import Workers

_MAX_DOCUMENT = 8 << 20
_MAX_LAYERS = 500
_MAX_NESTING = 4
_NAME = re.compile(
    r"(?!host$|dir:)(?:[a-z0-9.-]{1,100}:[0-9]{1,5}/)?[a-z0-9][a-z0-9._/@-]{0,180}(:[A-Za-z0-9._-]{1,60})?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An imported image."""

    name: str
    digest: str
    """Of the manifest it came from."""
    root: Path
    """Its files, owned by the ids that exist inside."""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    created_at: datetime | None = None
    """When it was imported."""
    size_bytes: int | None = None
    """Bytes that its layers unpacked to."""


class ImageStore:
    """All imported images of one installation."""

    def __init__(self, options: IsolationOptions, budget: Callable[[], Budget] = Budget) -> None:
        """Take the settings and what one image may use; nothing is touched before `start`."""
        self._folder = options.data_dir / "images"
        self._budget = budget
        self._workers = Workers("images", 1)
        self._images: dict[str, Image] = {}

    async def start(self) -> None:
        """Make the folder, clear away unfinished and replaced images, and read the others."""
        await self._workers.run(self._open)

    async def stop(self) -> None:
        """Wait for a running import; images stay."""
        await asyncio.to_thread(self._workers.close)

    def names(self) -> list[str]:
        """Return the names of all images."""
        return sorted(self._images)

    def all(self) -> list[Image]:
        """Return all images by name."""
        return [self._images[name] for name in self.names()]

    def get(self, name: str) -> Image:
        """Return an image. Raises NotFound."""
        image = self._images.get(name)
        if image is None:
            raise NotFound(f"There is no base {name}.")
        return image

    async def import_layout(self, path: Path, name: str) -> Image:
        """Unpack the image of this machine's architecture from an OCI image layout and keep it under `name`, replacing
        one of that name. Takes seconds to minutes. Raises InvalidArgument (bad name), BadImage, TooLarge, Unavailable
        (no room, or files that cannot be read).
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                "A name of an image is lower-case letters, digits and any of . _ / @ - with a tag."
            )
        try:
            image = await self._workers.run(self._import, path, name)
        except OSError as error:
            raise Unavailable(f"The image cannot be unpacked: {error.strerror or error}.") from error
        self._images[name] = image
        return image

    async def remove(self, name: str) -> None:
        """Forget an image; idempotent. Its files go at the next start, since sandboxes may still use them."""
        if self._images.pop(name, None) is not None:
            await self._workers.run(self._set_aside, self._home(name))

    def _open(self) -> None:
        # Root alone: the images hold set-uid programs that must mean nothing to the host's users.
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        for entry in list(os.scandir(self._folder)):
            if entry.name.startswith("."):
                shutil.rmtree(entry.path)
                continue
            name = unquote(entry.name)
            self._images[name] = self._load(name)

    def _import(self, path: Path, name: str) -> Image:
        layout = _Layout(path)
        digest, manifest = layout.manifest()
        config = layout.document(_text(_object(manifest.get("config")), "digest"))
        layers = _objects(manifest.get("layers"))
        if not 0 < len(layers) <= _MAX_LAYERS:
            raise BadImage("The image has no layers or too many.")
        draft = self._folder / f".part-{uuid.uuid4().hex}"
        root = draft / "rootfs"
        root.mkdir(parents=True, mode=0o755)
        root.chmod(0o755)
        try:
            budget = self._budget()
            allowed = budget.bytes
            with Unpacker(os.fspath(root)) as unpacker:
                for layer in layers:
                    layout.apply(layer, unpacker, budget)
            facts = {"created_at": utc_now().isoformat(), "size_bytes": allowed - budget.bytes}
            (draft / "image.json").write_text(json.dumps(_summary(digest, config) | facts))
            self._set_aside(self._home(name))
            draft.rename(self._home(name))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return self._load(name)

    def _load(self, name: str) -> Image:
        home = self._home(name)
        facts = json.loads((home / "image.json").read_text())
        created = facts.get("created_at")
        return Image(
            name=name,
            digest=facts["digest"],
            root=home / "rootfs",
            env=facts["env"],
            workdir=facts["workdir"],
            user=facts["user"],
            entrypoint=tuple(facts.get("entrypoint") or ()),
            command=tuple(facts.get("command") or ()),
            created_at=None if created is None else datetime.fromisoformat(created),
            size_bytes=facts.get("size_bytes"),
        )

    def _home(self, name: str) -> Path:
        return self._folder / quote(name, safe="")

    def _set_aside(self, home: Path) -> None:
        if home.exists():
            home.rename(self._folder / f".old-{uuid.uuid4().hex}")


class _Layout:
    """An OCI image layout on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not (path / "index.json").is_file():
            raise BadImage("The folder is not an OCI image layout: it has no index.json.")

    def manifest(self) -> tuple[str, _Json]:
        """Return digest and text of the manifest for this machine."""
        index = _parse(_read_bounded(self._path / "index.json"))
        for _ in range(_MAX_NESTING):
            entry = self._choose(_objects(index.get("manifests")))
            digest = _text(entry, "digest")
            document = self.document(digest)
            if "layers" in document:
                return digest, document
            index = document
        raise BadImage("The image's indexes are nested too deeply.")

    def document(self, digest: str) -> _Json:
        """Return a verified JSON blob."""
        data = _read_bounded(self._blob(digest))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise BadImage(f"The content of {digest} does not have that digest.")
        return _parse(data)

    def apply(self, layer: _Json, unpacker: Unpacker, budget: Budget) -> None:
        """Verify one layer while reading it through, then unpack it."""
        digest = _text(layer, "digest")
        kind = str(layer.get("mediaType", ""))
        with open(self._blob(digest), "rb") as blob:
            verified = _Hashed(blob)
            whiteouts = scan_layer(_opened(verified, kind), budget)
            verified.finish(digest)
            blob.seek(0)
            unpacker.remove(whiteouts)
            again = _Hashed(blob)
            unpacker.apply(_opened(again, kind))
            again.finish(digest)

    def _choose(self, entries: list[_Json]) -> _Json:
        wanted = ("linux", _MACHINES.get(platform.machine(), platform.machine()))
        for entry in entries:
            place = entry.get("platform")
            if not isinstance(place, dict) or (place.get("os"), place.get("architecture")) == wanted:
                return entry
        raise BadImage(f"The image is not made for {'/'.join(wanted)}.")

    def _blob(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BadImage("The image names a digest that is not sha256.")
        path = self._path / "blobs/sha256" / digest.removeprefix("sha256:")
        if path.is_symlink() or not path.is_file():
            raise BadImage(f"The image lacks {digest}.")
        return path


class _Hashed:
    """Hashes what is read through it."""

    def __init__(self, blob: BinaryIO) -> None:
        self._blob = blob
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._blob.read(size)
        self._hash.update(data)
        return data

    def finish(self, digest: str) -> None:
        """Read what the archive's reader left, and compare."""
        while self.read(1 << 20):
            pass
        if f"sha256:{self._hash.hexdigest()}" != digest:
            raise BadImage(f"The content of {digest} does not have that digest.")


def _opened(blob: _Hashed, kind: str) -> BinaryIO:
    if kind.endswith(("gzip", "diff.tar.gzip")):
        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", blob), mode="rb"))
    if kind.endswith("zstd"):
        raise BadImage("The image has a layer packed with zstd; convert it to gzip first.")
    if kind.endswith("tar"):
        return cast("BinaryIO", blob)
    raise BadImage(f"The image has a layer of an unknown kind: {kind[:100]}")


def _read_bounded(path: Path) -> bytes:
    with open(path, "rb") as source:
        data = source.read(_MAX_DOCUMENT + 1)
    if len(data) > _MAX_DOCUMENT:
        raise BadImage("The image has an oversized document.")
    return data


def _parse(data: bytes) -> _Json:
    try:
        return _object(json.loads(data))
    except (ValueError, RecursionError):
        raise BadImage("The image has a document that is not JSON.") from None


def _object(value: object) -> _Json:
    if not isinstance(value, dict):
        raise BadImage("The image has a document of the wrong shape.")
    return value


def _objects(value: object) -> list[_Json]:
    if not isinstance(value, list):
        raise BadImage("The image has a document of the wrong shape.")
    return [_object(entry) for entry in value]


def _text(value: _Json, key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise BadImage("The image has a document of the wrong shape.")
    return found


def _summary(digest: str, document: _Json) -> dict[str, object]:
    config = _object(document.get("config") or {})
    listed = config.get("Env") or []
    if not isinstance(listed, list):
        raise BadImage("The image has a bad environment.")
    env = dict(str(entry).split("=", 1) for entry in listed if "=" in str(entry))
    workdir, user = config.get("WorkingDir") or "", config.get("User") or ""
    return {
        "digest": digest,
        "env": env,
        "workdir": str(workdir),
        "user": str(user),
        "entrypoint": _words(config.get("Entrypoint")),
        "command": _words(config.get("Cmd")),
    }


def _words(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadImage("The image has a bad command.")
    return value
