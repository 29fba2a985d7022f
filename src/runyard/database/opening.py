"""Opening a database by URL. Owns the lock on the data folder and the choice of adapter."""

import fcntl
import os
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from runyard.database.engine import Database
from runyard.database.errors import DataFolderInUse
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.events import Broker


class FolderLock:
    """Keeps a second server from using the same data folder.

    A POSIX record lock: it ends with the process however that dies, and a child that outlives the server (the
    launcher of the sandboxes) does not inherit it, as it would an flock.
    """

    def __init__(self, data_dir: Path, *, create: bool = True) -> None:
        """Take the lock. Raises DataFolderInUse, and OSError when there is none and none shall be made."""
        flags = os.O_RDWR | os.O_CLOEXEC
        if create:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags |= os.O_CREAT
        self._fd: int | None = os.open(data_dir / "lock", flags, 0o600)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            self._fd = None
            raise DataFolderInUse(f"another server process uses the data folder {data_dir}") from None

    def release(self) -> None:
        """Give the folder back; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


async def open_database(url: str | None, data_dir: Path, broker: Broker) -> Database:
    """Open the database that `url` names; see `Database.open`."""
    try:
        parsed = make_url(url or f"sqlite:///{data_dir / 'runyard.db'}")
    except ArgumentError:
        raise InvalidArgument("the database URL cannot be parsed") from None
    kind = parsed.get_backend_name()
    if kind not in {"sqlite", "postgresql"}:
        raise InvalidArgument("the database URL must begin with sqlite:/// or postgresql://")
    lock = FolderLock(data_dir)
    try:
        if kind == "sqlite":
            from runyard.database.sqlite import SqliteDatabase

            if not parsed.database or parsed.database == ":memory:":
                raise InvalidArgument("the SQLite URL must name a file: sqlite:////absolute/path.db")
            return SqliteDatabase(Path(parsed.database), broker, lock)
        from runyard.database.postgresql import PostgresqlDatabase

        return await PostgresqlDatabase.connect(parsed, broker, lock)
    except BaseException:
        lock.release()
        raise
