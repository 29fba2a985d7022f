"""Provider plugins that the runs of an account share. Owns a folder for each account, in the layout of a mirror.

The tool reads it as a read-only mirror. What it has downloaded into its own folder is taken over right after `init`,
when nothing of the code could have run yet, unless the workspace's environment or the code could have made `init` itself
run or fetch something else: a run can therefore never put anything of its own before another one. Whole packages appear
by a rename, under a lock, and never change.
"""

import asyncio
import fcntl
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import structlog

from runyard.infrastructure.provisioner.box import Box
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import AccountId

PACKED_BYTES: Final = 4 << 30
ACCOUNT_BYTES: Final = 32 << 30
"""Of what is kept for one account; beyond, runs download what they need. Anybody can publish any number of providers."""
_PACKAGE: Final = re.compile(
    r"(?P<package>[a-z0-9.:-]+/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/[0-9A-Za-z.+-]+/[a-z0-9]+_[a-z0-9]+)(?:/(?P<rest>.+))?\Z"
)
_PACK: Final = (
    'cd "$1" 2>/dev/null || exit 0; find . -mindepth 5 -maxdepth 5 -type d -print0 | tar -c -f - --null -T -'
)
_HARMLESS: Final = re.compile(
    r"TF_(?:VAR|TOKEN)_\w+|TF_LOG(?:_CORE|_PROVIDER)?|ARM_\w+"
    r"|(?!GIT_|SSH_|LD_)[A-Z][A-Z0-9_]*_(?:TOKEN|KEY|KEY_ID|SECRET|PASSWORD|CREDENTIALS|REGION|PROJECT|ZONE|ROLE_ARN)\Z"
)
"""Variables that name no program, proxy, configuration or authority of certificates: credentials and places."""
_READ: Final = (".tf", ".tofu", ".tf.json", ".tofu.json")
"""Files that the tool reads, by their ends."""
_LARGEST: Final = 16 << 20
_ENCRYPTS: Final = re.compile(rb"(?<![\w-])encryption(?![\w-])")
"""The block of OpenTofu whose key providers and methods may be programs, which every command starts, `init` too."""
_log = structlog.get_logger(__name__)


def starts_programs(code: IO[bytes]) -> bool:
    """Tell whether `init` of OpenTofu may start a program that the code names, for a tar of it. Blocking."""
    code.seek(0)
    with tarfile.open(fileobj=code, mode="r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it remembers every entry
            if not member.name.endswith(_READ):
                continue
            if member.size > _LARGEST or (member.issym() and not member.linkname.endswith(_READ)):
                return True  # not looked at, or what it leads to is looked at under no such name
            file = archive.extractfile(member) if member.isreg() else None
            content = b"" if file is None else file.read()
            escaped = member.name.endswith(".json") and b"\\u" in content
            if escaped or _ENCRYPTS.search(content) is not None:
                return True
    return False


def is_harmless(name: str) -> bool:
    """Tell whether a variable of the environment cannot change what `init` runs or from where it downloads."""
    return _HARMLESS.fullmatch(name) is not None


class PluginCache:
    """Keeps the plugins of accounts."""

    def __init__(self, folder: Path, account_bytes: int = ACCOUNT_BYTES) -> None:
        """Use a folder, made when missing."""
        self._folder = folder
        self._account_bytes = account_bytes
        self._turn = asyncio.Lock()

    async def folder(self, account_id: AccountId) -> Path:
        """Return the mirror of an account."""
        return await asyncio.to_thread(self._made, account_id)

    async def take(self, box: Box, account_id: AccountId, name: str, *, code: IO[bytes] | None = None) -> int:
        """Take over what the tool downloaded into a folder of a box; return how many packages are new. What cannot be
        taken is logged: the run does not need it. `code` is a tar of the code where `init` may start programs of it, and
        is looked through when something was downloaded: most runs find all that they need.
        """
        try:
            folder = await self.folder(account_id)
            if await asyncio.to_thread(_size, folder) >= self._account_bytes:
                _log.warning("infrastructure.plugins_full", account_id=str(account_id))
                return 0
            with tempfile.TemporaryFile(dir=folder) as packed:
                await box.output(("/bin/sh", "-c", _PACK, "sh", box.place(name)), packed, PACKED_BYTES)
                if not packed.tell():
                    return 0  # there is no such folder
                if code is not None and await asyncio.to_thread(starts_programs, code):
                    return 0
                packed.seek(0)
                async with self._turn:
                    return await asyncio.to_thread(self._unpack, account_id, packed)
        except (RunyardError, OSError, tarfile.TarError) as error:
            _log.warning("infrastructure.plugins_not_kept", account_id=str(account_id), error=str(error))
            return 0

    def _made(self, account_id: AccountId) -> Path:
        folder = self._folder / account_id
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        return folder

    def _unpack(self, account_id: AccountId, packed: IO[bytes]) -> int:
        root = self._folder / account_id
        new: set[str] = set()
        with (
            _locked(self._folder / f".{account_id}.lock"),
            tempfile.TemporaryDirectory(dir=self._folder) as name,
        ):
            waiting = Path(name)
            with tarfile.open(fileobj=packed, mode="r|") as archive:
                for member in archive:
                    found = _PACKAGE.match(member.name.removeprefix("./"))
                    if found is None or _leaves(found["package"]) or (root / found["package"]).exists():
                        continue
                    new.add(found["package"])
                    _place(archive, member, waiting / found["package"], found["rest"] or "")
            for package in sorted(new):
                target = root / package
                target.parent.mkdir(parents=True, exist_ok=True)
                if (waiting / package).is_dir():
                    os.rename(waiting / package, target)
        return len(new)


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _leaves(package: str) -> bool:
    """Tell whether a name leads elsewhere: the archive was made inside the sandbox."""
    return any(part.strip(".") == "" for part in package.split("/"))


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, package: Path, rest: str) -> None:
    """Write a folder or a regular file of a package; everything else is left out."""
    if ".." in rest.split("/"):
        return
    target = package / rest
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif member.isreg() and rest:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None
        with target.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock against other servers on the same folder."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
