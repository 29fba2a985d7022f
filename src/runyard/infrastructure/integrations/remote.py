"""Looks into remote repositories by git. Owns what is asked of it; keeps nothing."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runyard.infrastructure.integrations.errors import RepositoryNotFound
from runyard.infrastructure.provisioner.git import Git
from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.infrastructure.runs.ports import RepositoryAccess

_LISTING_BYTES: Final = 32 << 20
_FALLBACK: Final = "main"


class RemoteReader:
    """Reads branches and trees without checking anything out."""

    def __init__(self, git: Git, folder: Path) -> None:
        """Take git and a folder for what it fetches, which is removed after each look."""
        self._git = git
        self._folder = folder

    async def default_branch(self, access: RepositoryAccess) -> str:
        """Return the branch that the remote's HEAD names, else its first one. Raises CheckoutFailed."""
        found = await self._git.references(access)
        heads = sorted(name.removeprefix("refs/heads/") for name in found if name.startswith("refs/heads/"))
        return found.get("HEAD") or next(iter(heads), _FALLBACK)

    async def files(self, access: RepositoryAccess, branch: str) -> Sequence[tuple[str, bool]]:
        """Return every path of a branch or tag with whether it is a file; the newest commit alone is fetched, and no
        content where the server can leave that out. Raises CheckoutFailed, RepositoryNotFound, TooLarge.
        """
        known = await self._git.references(access)
        wanted = next(
            (name for name in (f"refs/heads/{branch}", f"refs/tags/{branch}") if name in known), None
        )
        if wanted is None:
            raise RepositoryNotFound(f"branch {branch[:200]!r} not found")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="look-") as name:
            folder = Path(name)
            await self._git.run(("init", "--quiet", "--bare", "--", name))
            fetch = ("fetch", "--quiet", "--depth", "1", "--no-tags", "--filter=blob:none", "--")
            await self._git.run((*fetch, self._git.address(access), wanted), folder=folder, access=access)
            listing = await self._git.run(
                ("ls-tree", "-r", "-t", "-z", "FETCH_HEAD"), folder=folder, limit=_LISTING_BYTES
            )
        return [_entry(line) for line in listing.split(b"\0") if line]


def _entry(line: bytes) -> tuple[str, bool]:
    """Read `mode type hash<tab>path`; a submodule is shown as a folder."""
    about, _, path = line.partition(b"\t")
    kind = about.split(b" ")
    if len(kind) != 3:
        raise CheckoutFailed("git gave a listing that cannot be read")
    return path.decode("utf-8", "replace"), kind[1] == b"blob"
