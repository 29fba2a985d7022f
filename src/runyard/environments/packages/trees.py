"""Unpacked layers, one folder each, named by the layer's digest. Owns that a folder is there whole or not at all.

A layer is unpacked once, however many packages of however many accounts have it. Blocking; called in threads.
"""

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from runyard.environments.packages.archive import unpack_layer
from runyard.kernel.tarballs import TarballLimits

T = TypeVar("T")
_INCOMING: Final = ".incoming."
_HIDDEN: Final = ".hidden."
_THERE_ALREADY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class Trees:
    """The folder of all unpacked layers."""

    def __init__(self, root: Path, limits: TarballLimits) -> None:
        """Use a folder, made when missing; what a killed process left half-unpacked is removed."""
        self._root = root
        self._limits = limits
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.drop_hidden()
        for left in root.glob(f"{_INCOMING}*"):
            shutil.rmtree(left, ignore_errors=True)

    def path(self, digest: str) -> Path:
        """Return where a layer is, or would be."""
        return self._root / digest

    def take_in(self, digest: str, source: BinaryIO, check: Callable[[Path], T]) -> T:
        """Unpack a layer unless it is there, and return what `check` finds in it; what it refuses by an error is not
        kept. Raises BadPackage.
        """
        final = self.path(digest)
        if final.is_dir():
            return check(final)
        temporary = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self._root))
        try:
            folder = temporary / "files"
            folder.mkdir(mode=0o755)
            unpack_layer(source, folder, self._limits)
            found = check(folder)
            try:
                folder.rename(final)
            except OSError as error:
                if error.errno not in _THERE_ALREADY:
                    raise
            return found
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def stale(self, older_than_secs: float) -> Iterator[str]:
        """Yield the digests of folders that were unpacked so long ago."""
        before = time.time() - older_than_secs
        for entry in os.scandir(self._root):
            if not entry.name.startswith(".") and entry.stat(follow_symlinks=False).st_mtime < before:
                yield entry.name

    def hide(self, digest: str) -> None:
        """Take a folder out of sight, at once; `drop_hidden` removes it."""
        with contextlib.suppress(FileNotFoundError):
            self.path(digest).rename(self._root / f"{_HIDDEN}{digest}.{secrets.token_hex(4)}")

    def drop_hidden(self) -> None:
        """Remove what was hidden."""
        for hidden in self._root.glob(f"{_HIDDEN}*"):
            shutil.rmtree(hidden, ignore_errors=True)
