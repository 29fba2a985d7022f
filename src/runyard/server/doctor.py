"""What `runyard doctor` finds: the host, the data folder, the database and what the engine could enforce.

Looks and tries, changes nothing that stays. Every finding that is not `ok` says what to do.
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from runyard.runtimes.isolation import hostns
from runyard.runtimes.isolation.probe import probe
from runyard.server.options import isolation_options
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
    return [_python(), _kernel(), _data_folder(settings.data_dir), _database(settings), *_engine(settings)]


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
    if not os.access(existing, os.W_OK | os.X_OK):
        fix = f"make {path} writable for this user, or choose another with --data-dir"
        return Finding(name="data folder", status="failed", detail=f"{existing} is not writable", fix=fix)
    free = shutil.disk_usage(existing).free
    detail = f"{path}, {free >> 20} MiB free"
    if free < LOW_DISK_BYTES:
        return Finding(name="data folder", status="warning", detail=detail, fix="free some space there")
    return Finding(name="data folder", status="ok", detail=detail)


def _database(settings: Settings) -> Finding:
    if settings.database_url is None:
        return Finding(name="database", status="ok", detail="SQLite in the data folder")
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        return Finding(
            name="database", status="failed", detail="the URL cannot be parsed", fix="see docs/settings.md"
        )
    if url.get_backend_name() == "postgresql":
        try:
            import asyncpg  # noqa: F401
        except ImportError:
            fix = "install runyard[postgresql]"
            return Finding(
                name="database", status="failed", detail="the PostgreSQL driver is missing", fix=fix
            )
    return Finding(name="database", status="ok", detail=url.render_as_string(hide_password=True))


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
