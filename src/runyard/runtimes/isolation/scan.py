"""Finding what not everybody may read below a folder. Owns how the agent is asked, in a process of its own: in this one
the hundred thousand files of a host would take twice the time, and everything else would wait for it.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_SAID = 300
"""Of what it says of a failure, so much from the end: the reason stands behind the path."""


class Scan:
    """A scan under way. Use it as a context: it is over at the end, whatever happened."""

    def __init__(self, agent: Path, root: Path, skip: Iterable[str] = ()) -> None:
        """Begin; nothing below a path of `skip`, relative to the root, is looked at. Raises OSError."""
        self._root = root
        self._process = subprocess.Popen(
            [agent, "scan", root, *skip],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the end; a result that nobody took is of no use any more."""
        self._process.kill()
        self._process.communicate()

    def unreadable(self) -> list[Path]:
        """Wait for the paths below the root, relative to it, that others may not read (folders: read and enter) and
        for whatever is neither file, folder nor link. Nothing below a returned folder was looked at. Raises OSError.
        """
        found, said = self._process.communicate()
        if self._process.returncode != 0:
            raise OSError(f"{self._root} cannot be scanned: {said.decode(errors='replace').strip()[-_SAID:]}")
        return [Path(os.fsdecode(path)) for path in found.split(b"\0")[:-1]]
