"""What `runyard doctor` finds: the host, the data folder, the database and what the engine could enforce.

Looks and tries, changes nothing that stays. Every finding that is not `ok` says what to do.
"""

import asyncio
import os
import platform
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from runyard.database.errors import DataFolderInUse
from runyard.database.opening import FolderLock
from runyard.infrastructure.provisioner.tools import Tools
from runyard.runtimes.isolation import hostns
from runyard.runtimes.isolation.probe import probe
from runyard.server.options import isolation_options, tools_folder
from runyard.settings import Settings

MIN_PYTHON: Final = (3, 11)
MIN_KERNEL: Final = (5, 12)
"""Id-mapped mounts."""
LOW_DISK_BYTES: Final = 2 << 30


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `status` is `ok`, `warning` or `failed`."""

    name: str
    status: str
    detail: str
    fix: str = ""


def examine(settings: Settings) -> Sequence[Finding]:
    """Look at this machine with these settings; takes a few seconds at most. Call it before any thread exists."""
    hostns.enter_private_mounts()
    here = [_python(), _kernel(), _data_folder(settings.data_dir), _server(settings), _database(settings)]
    return [*here, _git(), _tools(settings), *_engine(settings)]


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < MIN_PYTHON:
        return Finding(name="python", status="failed", detail=version, fix="use Python 3.11 or later")
    return Finding(name="python", status="ok", detail=version)


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if platform.system() != "Linux" or numbers < MIN_KERNEL:
        fix = "use Linux 5.12 or later; without it runtimes cannot be isolated"
        return Finding(name="kernel", status="failed", detail=f"{platform.system()} {release}", fix=fix)
    return Finding(name="kernel", status="ok", detail=release)


def _data_folder(path: Path) -> Finding:
    existing = path
    while not existing.exists():
        existing = existing.parent
    try:
        # A file without a name: it shows whether the file system really takes one, and is never seen by anybody.
        os.close(os.open(existing, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        fix = f"make {path} writable for this user, or choose another with --data-dir"
        detail = f"{existing} takes no files: {error.strerror}"
        return Finding(name="data folder", status="failed", detail=detail, fix=fix)
    free = shutil.disk_usage(existing).free
    detail = f"{path}, {free >> 20} MiB free"
    if free < LOW_DISK_BYTES:
        return Finding(name="data folder", status="warning", detail=detail, fix="free some space there")
    if path.exists() and path.stat().st_mode & 0o077:
        fix = f"chmod 700 {path}"
        return Finding(name="data folder", status="warning", detail=f"{path} is open to other users", fix=fix)
    return Finding(name="data folder", status="ok", detail=detail)


def _server(settings: Settings) -> Finding:
    """Tell whether a server runs on this folder, or could listen."""
    place = f"{settings.host}:{settings.port}"
    if _folder_is_in_use(settings.data_dir):
        return Finding(name="server", status="ok", detail="a server runs on this data folder")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        fix = "choose another with --host and --port, or end what listens there"
        detail = f"cannot listen on {place}: {error.strerror or error}"
        return Finding(name="server", status="failed", detail=detail, fix=fix)
    return Finding(name="server", status="ok", detail=f"not running; {place} is free")


def _folder_is_in_use(path: Path) -> bool:
    try:
        FolderLock(path, create=False).release()
    except DataFolderInUse:
        return True
    except OSError:
        return False
    return False


def _database(settings: Settings) -> Finding:
    if settings.database_url is None:
        return Finding(name="database", status="ok", detail="SQLite in the data folder")
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        fix = "set RUNYARD_DATABASE_URL to sqlite:////path or postgresql://user:password@host/name"
        return Finding(name="database", status="failed", detail="the URL cannot be parsed", fix=fix)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() != "postgresql":
        return Finding(name="database", status="ok", detail=shown)
    try:
        return Finding(name="database", status="ok", detail=asyncio.run(_postgresql(url)))
    except ImportError:
        fix, detail = "install runyard[postgresql]", "the PostgreSQL driver is missing"
    except Exception as error:  # noqa: BLE001  whatever the driver raises is the finding
        fix, detail = (
            "start it, or correct RUNYARD_DATABASE_URL",
            f"{shown}: {str(error) or type(error).__name__}",
        )
    return Finding(name="database", status="failed", detail=detail, fix=fix)


async def _postgresql(url: URL) -> str:
    """Connect and return the version of the server."""
    import asyncpg

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain, timeout=5)
    try:
        version = connection.get_server_version()
        return f"PostgreSQL {version.major}.{version.minor} at {url.host or 'the local socket'}"
    finally:
        await connection.close()


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        fix = "install git; without it the code of workspaces cannot be checked out"
        return Finding(name="git", status="warning", detail="not in the PATH", fix=fix)
    return Finding(name="git", status="ok", detail=path)


def _tools(settings: Settings) -> Finding:
    """Tell which versions of Terraform and OpenTofu runs can use."""
    tools = Tools(tools_folder(settings), settings.data_dir / "tool-copies")
    found = asyncio.run(tools.installed())
    if not found:
        fix = f"put a program at {tools_folder(settings)}/tofu/<version>/tofu or into the PATH; without one nothing is planned"
        return Finding(name="infrastructure tools", status="warning", detail="none", fix=fix)
    shown = ", ".join(f"{tool.kind.value} {tool.version}" for tool in found)
    return Finding(name="infrastructure tools", status="ok", detail=shown)


def _engine(settings: Settings) -> Sequence[Finding]:
    if settings.runtimes.engine == "process":
        fix = "set runtimes.engine to namespaces, unless nothing but your own code runs here"
        return [
            Finding(name="engine", status="warning", detail="process: commands are not isolated", fix=fix)
        ]
    found = asyncio.run(probe(isolation_options(settings)))
    return [
        Finding(name=one.name, status="ok" if one.enforced else "failed", detail=one.how, fix=one.fix)
        for one in found
    ]
