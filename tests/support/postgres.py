"""A PostgreSQL instance of the tests' own, from the installed binaries. Owns its folder and its processes."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import free_port

PASSWORD = "only-for-tests"
START_SECONDS = 40.0
SHARED_MEMORY = "/dev/shm"
ROOM_BYTES = 2 << 30
MISSING = "PostgreSQL is not installed; as root run: apt-get install postgresql"


def binaries() -> Path | None:
    """Return the folder of the newest installed server programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).parent if other else None


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running instance."""

    port: int
    bin: Path
    options: dict[str, str | int]
    """How child processes drop root, which PostgreSQL refuses."""

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run a statement as the owner and return what it prints."""
        command = [str(self.bin / "psql"), "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def database(self, template: str | None = None) -> str:
        """Make a database, empty or like another one to which nobody is connected, and return its address."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.psql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete a database and cut its clients off."""
        self.psql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


def memory() -> str | None:
    """Return a folder in memory when there is room: a database is a thousand files, which a disk makes and deletes slowly."""
    with contextlib.suppress(OSError):
        found = os.statvfs(SHARED_MEMORY)
        if found.f_bavail * found.f_frsize >= ROOM_BYTES:
            return SHARED_MEMORY
    return None


def unprivileged(folder: Path) -> dict[str, str | int]:
    """Give a folder to the user that will run the instance, and return how to become that user."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid}


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Run an instance for as long as the block lasts. Raises FileNotFoundError when it is not installed."""
    home = binaries()
    if home is None:
        raise FileNotFoundError(MISSING)
    with tempfile.TemporaryDirectory(prefix="runyard-pg-", dir=memory()) as name:
        folder = Path(name)
        drop = unprivileged(folder)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        init = [str(home / "initdb"), "-D", f"{folder}/data", "-U", "tester", "-A", "scram-sha-256"]
        init += ["--pwfile", f"{folder}/password", "-E", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **drop)  # type: ignore[call-overload]
        one = Postgres(free_port(), home, drop)
        serve = [str(home / "postgres"), "-D", f"{folder}/data", "-p", str(one.port), "-k", str(folder)]
        for setting in (
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=100",
            "max_wal_size=256MB",
        ):
            serve += ["-c", setting]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(serve, stdout=log, stderr=log, cwd=folder, **drop)  # type: ignore[call-overload]
        try:
            wait = [str(home / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(one.port), "-t", "1"]
            deadline = time.monotonic() + START_SECONDS
            while subprocess.run(wait, check=False).returncode != 0:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield one
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: clients are cut off, and nothing of it is kept
            process.wait(30)
