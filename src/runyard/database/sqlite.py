"""The SQLite adapter. Owns the connections: one writer, a few readers, one for long scans in a thread.

Statements run in-line in the event loop: a thread hop per statement costs forty times the statement itself.
WAL with synchronous NORMAL loses nothing when the process is killed; a power failure may take the last commits.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, StaticPool, create_engine
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import DBAPIError

from runyard.database.engine import Database, Parameters, Prepared, Result, Step, Transaction
from runyard.database.errors import DatabaseUnavailable, translate_sqlite
from runyard.database.metadata import metadata
from runyard.database.opening import FolderLock
from runyard.database.revisions import bring_up
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import RunyardError
from runyard.kernel.events import Broker, Event

T = TypeVar("T")

_BUSY_SECONDS = 5.0
_CHECKPOINT_SECONDS = 1.0
_CHECKPOINT_COMMITS = 500
"""Commits after which the write-ahead log is copied into the file; fewer are copied after `_CHECKPOINT_IDLE`."""
_CHECKPOINT_IDLE = 30
_WAL_RESTART_PAGES = 32_000
"""64 MiB: then writers wait once for the log to begin anew."""
_WAL_BACKSTOP_PAGES = 200_000
_DIALECT = pysqlite.dialect(paramstyle="qmark")


class _Handle:
    """A driver connection and SQLAlchemy's view of it, for statements that are not prepared."""

    __slots__ = ("core", "raw")

    def __init__(self, path: Path, *, readonly: bool) -> None:
        # A file is always opened read-write: a read-only WAL reader cannot recover the index of a killed writer.
        self.raw = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in (
            "page_size=2048",  # every index of a row is another dirty page: small pages halve what a commit writes
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-65536",
            "mmap_size=1073741824",
        ):
            self.raw.execute(f"PRAGMA {pragma}").close()
        if readonly:
            self.raw.execute("PRAGMA query_only=ON").close()
        engine = create_engine(
            "sqlite://",
            creator=lambda: self.raw,
            poolclass=StaticPool,
            isolation_level="AUTOCOMMIT",
            # What rows hold may be secret, and errors are logged.
            hide_parameters=True,
        )
        self.core: Connection = engine.connect()

    def close(self) -> None:
        self.raw.close()


class _SqliteTransaction(Transaction):
    """Statements on one connection, in-line."""

    __slots__ = ("_handle",)

    def __init__(self, database: "SqliteDatabase", handle: _Handle) -> None:
        super().__init__(database)
        self._handle = handle

    async def execute(self, statement: Executable, params: Parameters | None = None) -> Result:
        return self._execute(statement, params)

    def _execute(self, statement: Executable, params: Parameters | None) -> Result:
        try:
            cursor = self._handle.core.execute(statement, params)
            with cursor:
                return Result(cursor.fetchall() if cursor.returns_rows else (), cursor.rowcount)
        except DBAPIError as error:
            raise _translated(error.orig) from error

    async def run(self, prepared: Prepared, values: Sequence[Any]) -> int:
        try:
            return self._handle.raw.execute(*prepared.bind(_DIALECT, values)).rowcount
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def fetch(self, prepared: Prepared, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._handle.raw.execute(*prepared.bind(_DIALECT, values)).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error


class _ThreadTransaction(_SqliteTransaction):
    """The same on the scan connection, every statement in the scan thread; a cancelled wait interrupts it."""

    __slots__ = ("_pool",)

    def __init__(self, database: "SqliteDatabase", handle: _Handle, pool: ThreadPoolExecutor) -> None:
        super().__init__(database, handle)
        self._pool = pool

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run a call in the scan thread; when the waiter is cancelled, interrupt it and await its end."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._handle.raw.interrupt()
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise

    async def execute(self, statement: Executable, params: Parameters | None = None) -> Result:
        return await self.in_thread(partial(self._execute, statement, params))

    async def run(self, prepared: Prepared, values: Sequence[Any]) -> int:
        sql, bound = prepared.bind(_DIALECT, values)
        return await self.in_thread(lambda: self._handle.raw.execute(sql, bound).rowcount)

    async def fetch(self, prepared: Prepared, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        sql, bound = prepared.bind(_DIALECT, values)
        return await self.in_thread(lambda: self._handle.raw.execute(sql, bound).fetchall())


class _Writing:
    """BEGIN IMMEDIATE under the writer's lock, then COMMIT or ROLLBACK. A class: cheaper than a generator."""

    __slots__ = ("_database", "_tx")

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    async def __aenter__(self) -> Transaction:
        database = self._database
        task = asyncio.current_task()
        if database.writing_task is task and task is not None:
            raise RuntimeError("this task has a transaction open already")
        await database.write_lock.acquire()
        database.writing_task = task
        try:
            await database.begin()
        except BaseException:
            self._release()
            raise
        self._tx = _SqliteTransaction(database, database.writer)
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raw = self._database.writer.raw
        try:
            if kind is None:
                try:
                    raw.execute("COMMIT")
                    self._database.commits += 1
                except sqlite3.Error as failed:
                    raw.rollback()
                    raise _translated(failed) from failed
            elif raw.in_transaction:
                raw.execute("ROLLBACK")
        finally:
            self._release()
        if kind is None:
            self._tx.committed()

    def _release(self) -> None:
        self._database.writing_task = None
        self._database.write_lock.release()


class _Reading:
    """A read transaction on a free reader: all its statements see one state."""

    __slots__ = ("_database", "_handle")

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    async def __aenter__(self) -> Transaction:
        self._handle = self._database.take_reader()
        self._handle.raw.execute("BEGIN")
        return _SqliteTransaction(self._database, self._handle)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.raw.execute("ROLLBACK")
        self._database.give_reader(self._handle)


class _Scanning:
    """One scan at a time, in the scan thread."""

    __slots__ = ("_database", "_tx")

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    async def __aenter__(self) -> Transaction:
        await self._database.scan_lock.acquire()
        try:
            handle = self._database.take_scanner()
            self._tx = _ThreadTransaction(self._database, handle, self._database.scan_pool)
            await self._tx.in_thread(lambda: handle.raw.execute("BEGIN"))
        except BaseException:
            self._database.scan_lock.release()
            raise
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._database.take_scanner().raw.execute("ROLLBACK")
        finally:
            self._database.scan_lock.release()


class SqliteDatabase(Database):
    """A SQLite file in WAL mode."""

    def __init__(self, path: Path, broker: Broker, lock: FolderLock) -> None:
        """Open the writer; readers open when first needed."""
        from runyard.database.tables import INSERT_EVENTS, event_values

        self.path = path
        self.broker = broker
        self.dialect = _DIALECT
        self._lock = lock
        self._insert_event, self._event_values = INSERT_EVENTS[1], event_values
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.writer = _Handle(path, readonly=False)
            # Checkpoints run in a thread: one inside a commit would stall the loop for its fsync.
            self.writer.raw.execute(f"PRAGMA wal_autocheckpoint={_WAL_BACKSTOP_PAGES}")
            self.writer.raw.execute("PRAGMA busy_timeout=0")
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot open {path}: {error}") from None
        self.write_lock = asyncio.Lock()
        self.writing_task: asyncio.Task[Any] | None = None
        self.scan_lock = asyncio.Lock()
        self.scan_pool = ThreadPoolExecutor(1, thread_name_prefix="runyard-scan")
        self._readers: list[_Handle] = []
        self.commits = 0
        """Since the last checkpoint."""
        self._scanner: _Handle | None = None
        self._closed = False
        self._checkpoints = asyncio.create_task(self._checkpoint_forever())

    def transaction(self) -> _Writing:
        return _Writing(self)

    async def write(self, steps: Sequence[Step]) -> int:
        raw = self.writer.raw
        if self.write_lock.locked():
            return await super().write(steps)
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return await super().write(steps)  # which waits, and says what is wrong
        # Nothing below waits, so nobody else comes in between and the lock is not needed.
        try:
            changed = raw.execute(*steps[0][0].bind(_DIALECT, steps[0][1])).rowcount
            if changed:
                for prepared, values in steps[1:]:
                    raw.execute(*prepared.bind(_DIALECT, values))
            raw.execute("COMMIT")
        except BaseException as error:
            raw.rollback()
            if isinstance(error, sqlite3.Error):
                raise _translated(error) from error
            raise
        self.commits += 1
        return changed

    def read(self) -> _Reading:
        return _Reading(self)

    def scan(self) -> _Scanning:
        return _Scanning(self)

    async def begin(self) -> None:
        """Begin on the writer. Another process may hold the file (a backup): wait without blocking the loop."""
        raw = self.writer.raw
        deadline = monotonic() + _BUSY_SECONDS
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise _translated(error) from error
                if monotonic() > deadline:
                    raise DatabaseUnavailable("the database file is locked by another process") from error
            await asyncio.sleep(0.005)

    def take_reader(self) -> _Handle:
        """Take a free reader, or open another one: readers never wait for each other."""
        return self._readers.pop() if self._readers else _Handle(self.path, readonly=True)

    def give_reader(self, handle: _Handle) -> None:
        """Return a reader; more than a few are closed."""
        if len(self._readers) < 4 and not self._closed:
            self._readers.append(handle)
        else:
            handle.close()

    def take_scanner(self) -> _Handle:
        """Return the connection of scans."""
        if self._scanner is None:
            self._scanner = _Handle(self.path, readonly=True)
        return self._scanner

    async def append_event(self, tx: Transaction, event: Event) -> None:
        await tx.run(self._insert_event, self._event_values(event))
        tx.after_commit(partial(self.broker.publish, event))

    async def migrate(self) -> None:
        async with self.write_lock:
            bring_up(self.writer.core)

    async def create_all(self) -> None:
        metadata.create_all(self.writer.core)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._checkpoints.cancel()
        await asyncio.wait([self._checkpoints])
        async with self.write_lock, self.scan_lock:
            self.scan_pool.shutdown()
            for handle in (*self._readers, self._scanner, self.writer):
                if handle is not None:
                    handle.close()
        self._lock.release()

    async def _checkpoint_forever(self) -> None:
        """Move the write-ahead log into the file, off the loop, when enough was written or some time has passed."""
        loop = asyncio.get_running_loop()
        rounds = 0
        with ThreadPoolExecutor(1, thread_name_prefix="runyard-checkpoint") as pool:
            while True:
                await asyncio.sleep(_CHECKPOINT_SECONDS)
                rounds += 1
                if self.commits < _CHECKPOINT_COMMITS and (not self.commits or rounds < _CHECKPOINT_IDLE):
                    continue
                self.commits = rounds = 0
                pages = await loop.run_in_executor(pool, _checkpoint, self.path)
                if pages > _WAL_RESTART_PAGES:
                    # Under steady writing a checkpoint beside the writer never catches up, and the log would grow
                    # for ever. What is left after the one above is little, and only writers wait for it.
                    async with self.write_lock:
                        await loop.run_in_executor(pool, _restart_log, self.path)


def _checkpoint(path: Path) -> int:
    """Copy what no reader needs any more; return how many pages the log has."""
    with closing(sqlite3.connect(path, timeout=0.05, isolation_level=None)) as raw:
        try:
            _, pages, _ = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            return int(pages)
        except sqlite3.Error:
            return 0  # a busy file is copied next time; the backstop on the writer bounds the log


def _restart_log(path: Path) -> None:
    """Copy the rest and begin the log anew, unless a long reader still needs it."""
    with closing(sqlite3.connect(path, timeout=0.05, isolation_level=None)) as raw, suppress(sqlite3.Error):
        raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        # The first write into a new log syncs its header: here, rather than in somebody's request.
        raw.execute("PRAGMA user_version=1")


def _translated(error: BaseException | None) -> RunyardError:
    if isinstance(error, sqlite3.IntegrityError):
        return translate_sqlite(str(error))
    if isinstance(error, sqlite3.OperationalError) and (
        "locked" in str(error) or "unable to open" in str(error) or "full" in str(error)
    ):
        return DatabaseUnavailable(str(error))
    return RunyardError(f"the database failed: {error}")
