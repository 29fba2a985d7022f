"""The PostgreSQL adapter. Owns the pool (SQLAlchemy's asyncio engine over asyncpg) and error translation.

Needs the extra `runyard[postgresql]`. Isolation is READ COMMITTED: stores lock the rows that they change.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import URL, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from runyard.database.engine import Database, Parameters, Prepared, Result, Transaction
from runyard.database.errors import DatabaseUnavailable, translate_postgresql
from runyard.database.metadata import metadata
from runyard.database.opening import FolderLock
from runyard.database.revisions import bring_up
from runyard.kernel.errors import InvalidArgument, RunyardError
from runyard.kernel.events import Broker, Event
from runyard.kernel.jsons import encode_json

_POOL_SIZE = 16
_POOL_WAIT_SECONDS = 10.0


class _PostgresqlTransaction(Transaction):
    """Statements on one pooled connection."""

    __slots__ = ("_connection",)

    def __init__(self, database: "PostgresqlDatabase", connection: AsyncConnection) -> None:
        super().__init__(database)
        self._connection = connection

    async def execute(self, statement: Executable, params: Parameters | None = None) -> Result:
        try:
            cursor = await self._connection.execute(statement, params)
            with cursor:
                return Result(cursor.fetchall() if cursor.returns_rows else (), cursor.rowcount)
        except DBAPIError as error:
            raise _translated(error) from error

    async def run(self, prepared: Prepared, values: Sequence[Any]) -> int:
        sql, bound = prepared.bind(self._connection.dialect, values)
        try:
            with await self._connection.exec_driver_sql(sql, tuple(bound)) as cursor:
                return cursor.rowcount
        except DBAPIError as error:
            raise _translated(error) from error

    async def fetch(self, prepared: Prepared, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        sql, bound = prepared.bind(self._connection.dialect, values)
        try:
            with await self._connection.exec_driver_sql(sql, tuple(bound)) as cursor:
                return [tuple(row) for row in cursor.fetchall()]
        except DBAPIError as error:
            raise _translated(error) from error


class PostgresqlDatabase(Database):
    """A database on a PostgreSQL server."""

    def __init__(self, engine: AsyncEngine, broker: Broker, lock: FolderLock) -> None:
        """Use an engine; made by `connect`."""
        from runyard.database.tables import INSERT_EVENTS, event_values

        self._engine = engine
        self.broker = broker
        self.dialect = engine.dialect
        self._lock = lock
        self._insert_event, self._event_values = INSERT_EVENTS[1], event_values

    @classmethod
    async def connect(cls, url: URL, broker: Broker, lock: FolderLock) -> "PostgresqlDatabase":
        """Open the pool and try one connection. Raises DatabaseUnavailable, InvalidArgument."""
        try:
            engine = create_async_engine(
                url.set(drivername="postgresql+asyncpg"),
                pool_size=_POOL_SIZE,
                max_overflow=0,
                pool_timeout=_POOL_WAIT_SECONDS,
                pool_pre_ping=True,
                # What rows hold may be secret, and errors are logged.
                hide_parameters=True,
                # Compiling a statement takes longer than any of ours may run.
                connect_args={"server_settings": {"jit": "off", "application_name": "runyard"}},
                json_serializer=lambda value: encode_json(value).decode(),
                json_deserializer=msgspec.json.decode,
            )
        except ModuleNotFoundError:
            raise InvalidArgument("PostgreSQL needs the extra: pip install 'runyard[postgresql]'") from None
        database = cls(engine, broker, lock)
        try:
            async with engine.connect():
                pass
        except (OSError, DBAPIError) as error:
            await engine.dispose()
            raise DatabaseUnavailable(f"cannot reach PostgreSQL: {_plain(error)}") from None
        return database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._connected() as connection:
            tx = _PostgresqlTransaction(self, connection)
            try:
                async with connection.begin():
                    yield tx
            except (
                DBAPIError
            ) as error:  # raised by the commit itself: a deferred check, a serialization failure
                raise _translated(error) from error
        tx.committed()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with self._connected() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield _PostgresqlTransaction(self, connection)

    scan = read

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self._engine.connect()
        except PoolTimeout as error:
            raise DatabaseUnavailable("all database connections are busy") from error
        except (OSError, DBAPIError) as error:
            raise DatabaseUnavailable(f"cannot reach PostgreSQL: {_plain(error)}") from error
        try:
            yield connection
        finally:
            await connection.close()

    async def append_event(self, tx: Transaction, event: Event) -> None:
        await tx.run(self._insert_event, self._event_values(event))
        tx.after_commit(partial(self.broker.publish, event))

    async def migrate(self) -> None:
        async with self._connected() as connection, connection.begin():
            await connection.run_sync(bring_up)

    async def create_all(self) -> None:
        async with self._connected() as connection, connection.begin():
            await connection.run_sync(metadata.create_all)

    async def close(self) -> None:
        await self._engine.dispose()
        self._lock.release()


def _plain(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _translated(error: DBAPIError) -> RunyardError:
    origin: Any = error.orig
    cause: Any = getattr(origin, "__cause__", None)
    state = getattr(origin, "sqlstate", None) or getattr(cause, "sqlstate", None)
    found = translate_postgresql(state, getattr(cause, "constraint_name", None), _plain(error))
    if found is not None:
        return found
    if error.connection_invalidated:
        return DatabaseUnavailable(_plain(error))
    return RunyardError(f"the database failed: {_plain(error)}")
