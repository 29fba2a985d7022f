"""Finds repositories below a folder. Owns what a repository looks like on disk; follows no links, starts nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

DEEPEST: Final = 4
_MOST_ENTRIES: Final = 100_000


def repositories(top: Path, limit: int) -> Sequence[str]:
    """Return the names of the repositories below a folder, as paths from it without `.git`, sorted."""
    found: list[str] = []
    left = _MOST_ENTRIES
    waiting: list[tuple[str, int]] = [("", 0)]
    while waiting and len(found) < limit and left > 0:
        name, depth = waiting.pop(0)
        folder = top / name
        if name and is_repository(folder):
            found.append(name.removesuffix(".git"))
            continue
        if depth >= DEEPEST:
            continue
        try:
            with os.scandir(folder) as entries:
                inner = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        left -= len(inner) + 1
        waiting += [(f"{name}/{one}".lstrip("/"), depth + 1) for one in inner if not one.startswith(".")]
    return sorted(found)


def is_repository(folder: Path) -> bool:
    """Tell whether a folder is a bare repository or has one in it."""
    return _bare(folder) or _bare(folder / ".git")


def _bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
