"""Trees of code from anybody. Owns how one is put into a tar for a sandbox, and which links in it are let through.

A link that leads out of the tree is refused where it could matter, in the working directory or on the way to it, and
left out elsewhere. Nothing is ever read through a link. Blocking: call it in a thread.
"""

import os
import stat
import tarfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.kernel.errors import TooLarge

_FOLDER: Final = 0o755
_SKIPPED: Final = frozenset({".git", "errored.tfstate"})
"""The latter is what a tool leaves that could not write the state: one of the code must not pass for it."""
_STATES: Final = ("terraform.tfstate", "terraform.tfstate.d")
"""What a tool without a backend keeps its state in: it would ask whether to move that here, and there is nobody to answer."""


def working_folder(root: Path, working_directory: str) -> str:
    """Return the working directory as a path below the tree's root, "" for the root. Raises CheckoutFailed when it is
    not there or is reached through a link out of the tree.
    """
    relative = working_directory.strip("/")
    target = root / relative
    if not _stays(target, root.resolve()):
        raise CheckoutFailed(
            f"the working directory {working_directory!r} leads out of the repository by a link"
        )
    if not target.is_dir():
        raise CheckoutFailed(f"there is no folder {working_directory!r} in the code")
    return "" if relative in ("", ".") else relative


def local_states(root: Path, working: str) -> Sequence[Path]:
    """Return what is in the working directory of the states of a tool without a backend."""
    folder = root / (root / working).resolve().relative_to(root.resolve())
    return [folder / name for name in _STATES if os.path.lexists(folder / name)]


def pack(root: Path, target: IO[bytes], *, working: str, limit: int) -> Sequence[str]:
    """Write the tree without local states as a tar; whoever owns its files outside, root does inside. Return the links
    that were left out.
    Raises CheckoutFailed (a link out of the tree in the working directory), TooLarge.
    """
    top = root.resolve()
    working_top = (root / working).resolve()
    dropped: list[str] = []
    left = limit
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path, about in _walk(root, local_states(root, working)):
            name = os.fspath(path.relative_to(root))
            item = tarfile.TarInfo(name)
            item.mtime = about.st_mtime
            if stat.S_ISLNK(about.st_mode):
                if not _stays(path, top):
                    if path.parent.resolve().is_relative_to(working_top):
                        raise CheckoutFailed(f"the link {name!r} leads out of the repository")
                    dropped.append(name)
                    continue
                item.type, item.linkname = tarfile.SYMTYPE, os.readlink(path)
                archive.addfile(item)
            elif stat.S_ISDIR(about.st_mode):
                item.type, item.mode = tarfile.DIRTYPE, _FOLDER
                archive.addfile(item)
            elif stat.S_ISREG(about.st_mode):
                left -= about.st_size
                if left < 0:
                    raise TooLarge(f"the code is larger than {limit} bytes")
                item.size, item.mode = about.st_size, 0o755 if about.st_mode & 0o100 else 0o644
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                with os.fdopen(fd, "rb") as content:
                    archive.addfile(item, content)
    return dropped


def _stays(path: Path, top: Path) -> bool:
    """Tell whether a path ends within a folder, every link followed; one that goes round in circles ends nowhere."""
    try:
        return path.resolve().is_relative_to(top)
    except (RuntimeError, OSError):
        return False


def _walk(root: Path, without: Collection[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below a folder, parents first, never entering a link."""
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            path = Path(entry.path)
            if entry.name in _SKIPPED or path in without:
                continue
            about = entry.stat(follow_symlinks=False)
            yield path, about
            if stat.S_ISDIR(about.st_mode):
                waiting.append(path)
