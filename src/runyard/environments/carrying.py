"""Carries what an agent left at the declared places into the copy in which a judge works. Owns what is passed over.

Several small files are on their way at once: each costs two questions to the copy, and an output may be a project with
tens of thousands.
"""

import asyncio
import contextlib
import io
import posixpath
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from runyard.environments.building.context import Entry
from runyard.environments.building.files import make_folders, put_content
from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.runtimes.isolation.engine import Sandbox

LINKS_MAX: Final = 10_000
_AT_ONCE: Final = 16
_SMALL: Final = 256 << 10
"""Bytes of a file that may wait in memory for others; a larger one is written from the archive, alone."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The places of the judge in the copy. An output must not be at one, nor lead to one: a link of the agent that ends at
    the expected answer would be the right answer.
    """

    places: frozenset[str]
    """Files of the judge, and the folder of its reward with all below."""
    above: frozenset[str]
    """The folders that lead to them."""

    @classmethod
    def of(cls, judges: Sequence[Entry], rewards: str | None) -> "Reserved":
        """Reserve the places of a judge's files and that of its reward."""
        given = [entry.target for entry in judges] + ([rewards] if rewards else [])
        # Two slashes at the begin are kept by normpath.
        places = {f"/{posixpath.normpath(path).lstrip('/')}" for path in given}
        return cls(frozenset(places), frozenset(up for place in places for up in _folders_above(place)))

    def holds(self, path: str, *, folder: bool = False) -> bool:
        """Tell whether something at a path would be in the judge's way."""
        if path in self.places or (path in self.above and not folder):
            return True
        return any(up in self.places for up in _folders_above(path))

    def is_led_to(self, link: str, path: str) -> bool:
        """Tell whether a link at a path ends at a place, or at a folder from which one goes on to it."""
        return self.holds(posixpath.normpath(posixpath.join(posixpath.dirname(path), link)))


def _folders_above(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) != "/":
        yield path


@dataclass(slots=True)
class _Found:
    """What an archive holds that is written after all files."""

    folders: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """What each says, and where it is."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """Carries into one copy."""

    source: Sandbox
    """Where the agent worked: everything in it is hostile and may change meanwhile."""
    copy: Sandbox
    program: Callable[[Sequence[str]], Awaitable[None]]
    """Runs a program of the copy."""
    reserved: Reserved

    async def carry(self, outputs: Sequence[str], folder: Path, most_bytes: int) -> Sequence[str]:
        """Carry what is below the declared paths, and nothing else, by way of a file in a folder; return the paths at
        which there was something. Raises TooLarge, InvalidArgument, and as `put_content`.
        """
        if not outputs:
            return ()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as packed:
            absent = await self.source.pack(outputs, packed, most_bytes)
            packed.seek(0)
            # What the agent removed must not be there again.
            await self.program(("/bin/rm", "-rf", "--", *outputs))
            await self._unpack(packed)
        return [path for path in outputs if path not in absent]

    async def _unpack(self, packed: IO[bytes]) -> None:
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            found = await self._files(archive)
        for path in found.folders:
            if not self.reserved.holds(path, folder=True):
                with contextlib.suppress(InvalidArgument):
                    await make_folders(self.copy, [path])
        if len(found.links) > LINKS_MAX:
            raise TooLarge(f"there are more than {LINKS_MAX} links")
        # Last, so that no file is written through one.
        wanted = [
            ("/bin/ln", "-sfn", "--", said, path)
            for said, path in found.links
            if not self.reserved.holds(path) and not self.reserved.is_led_to(said, path)
        ]
        for start in range(0, len(wanted), _AT_ONCE):
            await _all_of([self._link(argv) for argv in wanted[start : start + _AT_ONCE]])

    async def _files(self, archive: tarfile.TarFile) -> _Found:
        """Write the files of an archive; return what else is in it."""
        found, waiting = _Found(), list[tuple[str, bytes, int]]()
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it remembers every entry
            path = f"/{member.name}"
            if member.isdir():
                found.folders.append(path)
            elif member.issym():
                found.links.append((member.linkname, path))
            elif not self.reserved.holds(path):
                content = archive.extractfile(member)
                assert content is not None
                if member.size > _SMALL:
                    await self._put(path, content, member.mode)
                    continue
                waiting.append((path, content.read(), member.mode))
                if len(waiting) == _AT_ONCE:
                    await self._put_all(waiting)
        await self._put_all(waiting)
        return found

    async def _put_all(self, waiting: list[tuple[str, bytes, int]]) -> None:
        await _all_of([self._put(path, io.BytesIO(data), mode) for path, data, mode in waiting])
        waiting.clear()

    async def _put(self, path: str, content: IO[bytes], mode: int) -> None:
        # A name that cannot be written, or where something else is in the image, is passed over.
        with contextlib.suppress(InvalidArgument):
            await put_content(self.copy, path, content, mode & 0o777)

    async def _link(self, argv: Sequence[str]) -> None:
        with contextlib.suppress(InvalidArgument):
            await self.program(argv)


async def _all_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do some works side by side; when all have ended, raise the first error."""
    for done in await asyncio.gather(*works, return_exceptions=True):
        if done is not None:
            raise done
