"""Terraform and OpenTofu as the operator installed them. Owns where they are found and which version a workspace gets.

Found are `<folder>/terraform/<version>/terraform` and `<folder>/tofu/<version>/tofu`, and what the PATH has. Sandboxes
see a copy in a folder of its own, because what stands beside a program of the PATH is nobody's business inside.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.infrastructure.runs.errors import ToolMissing
from runyard.infrastructure.workspaces.model import IacType

PROGRAMS: Final[Mapping[IacType, str]] = {IacType.TERRAFORM: "terraform", IacType.OPENTOFU: "tofu"}
_FOLDERS: Final[Mapping[IacType, Sequence[str]]] = {
    IacType.TERRAFORM: ("terraform",),
    IacType.OPENTOFU: ("tofu", "opentofu"),
}
_VERSION: Final = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)(-[0-9A-Za-z.-]+)?\Z")
_ASK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An installed tool."""

    kind: IacType
    version: str
    path: Path

    @property
    def program(self) -> str:
        """Return the name of the program."""
        return PROGRAMS[self.kind]

    @property
    def rank(self) -> tuple[int, int, int, bool]:
        """Return what versions are compared by: a release comes after its candidates."""
        found = _VERSION.match(self.version)
        if found is None:
            return 0, 0, 0, False
        return int(found[1]), int(found[2]), int(found[3]), found[4] is None


class Tools:
    """Finds tools, and copies them to where sandboxes see them."""

    def __init__(self, folder: Path, copies: Path, path: str | None = None) -> None:
        """Look in a folder and in a PATH (None means that of this process); keep copies in another folder."""
        self._folder = folder
        self._copies = copies
        self._path = path
        self._asked: dict[tuple[Path, int, int], str] = {}
        self._copying = asyncio.Lock()

    async def installed(self) -> Sequence[Tool]:
        """List the installed tools, the newest of each kind first."""
        return await asyncio.to_thread(self._installed)

    async def choose(self, kind: IacType, version: str) -> Tool:
        """Return the newest that fits: an exact version, the beginning of one (`1.9`), or, when empty or `latest`, any.
        Raises ToolMissing saying what is installed.
        """
        if kind not in PROGRAMS:
            raise ToolMissing(f"runs of {kind.value} are not executed by this server")
        tools = await self.installed()
        for tool in tools:
            if tool.kind is kind and _fits(tool.version, version):
                return tool
        wanted = kind.value if version in ("", "latest") else f"{kind.value} {version}"
        here = ", ".join(f"{tool.kind.value} {tool.version}" for tool in tools) or "none"
        program = PROGRAMS[kind]
        raise ToolMissing(
            f"{wanted} is not installed on this server (installed: {here}); put the program at "
            f"{self._folder}/{program}/<version>/{program} or into the PATH"
        )

    async def shown(self, tool: Tool) -> Path:
        """Return a folder that holds a copy of the tool and nothing else, made at the first use."""
        async with self._copying:
            return await asyncio.to_thread(self._copy, tool)

    def _installed(self) -> Sequence[Tool]:
        found = [tool for kind in PROGRAMS for tool in self._of_kind(kind)]
        return sorted(found, key=lambda tool: (tool.kind.value, tool.rank), reverse=True)

    def _of_kind(self, kind: IacType) -> Iterable[Tool]:
        program, seen = PROGRAMS[kind], set[str]()
        for name in _FOLDERS[kind]:
            for path in sorted((self._folder / name).glob(f"*/{program}")):
                version = path.parent.name.removeprefix("v")
                if _VERSION.match(version) and os.access(path, os.X_OK) and version not in seen:
                    seen.add(version)
                    yield Tool(kind=kind, version=version, path=path)
        on_path = shutil.which(program, path=self._path)
        if on_path is not None:
            version = self._ask(Path(on_path))
            if version and version not in seen:
                yield Tool(kind=kind, version=version, path=Path(on_path))

    def _ask(self, path: Path) -> str:
        """Ask a program for its version, once as long as it stays the same file."""
        about = path.stat()
        key = path, about.st_mtime_ns, about.st_size
        if key not in self._asked:
            self._asked[key] = _version_of(path)
        return self._asked[key]

    def _copy(self, tool: Tool) -> Path:
        about = tool.path.stat()
        folder = self._copies / f"{tool.program}-{tool.version}-{about.st_mtime_ns:x}-{about.st_size:x}"
        target = folder / tool.program
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
            fd, temporary = tempfile.mkstemp(dir=folder)
            os.close(fd)
            shutil.copyfile(tool.path, temporary)
            Path(temporary).chmod(0o755)
            os.replace(temporary, target)
        return folder


def _version_of(path: Path) -> str:
    environment = {"PATH": os.defpath, "CHECKPOINT_DISABLE": "1", "HOME": "/nonexistent"}
    try:
        asked = subprocess.run(
            [path, "version", "-json"],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=True,
        )
        version = json.loads(asked.stdout)["terraform_version"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return ""
    return version if isinstance(version, str) and _VERSION.match(version) else ""


def _fits(installed: str, wanted: str) -> bool:
    wanted = wanted.removeprefix("v")
    if wanted in ("", "latest"):
        return "-" not in installed
    return installed == wanted or installed.startswith(f"{wanted}.")
