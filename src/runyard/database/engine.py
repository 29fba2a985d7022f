"""The database port. Owns transactions, commit, prepared statements and what happens after a commit.

`Database.open` chooses SQLite or PostgreSQL by URL. Only the context managers here commit; statements live in
the stores of the domains, which get a `Transaction` and never a connection.
"""

import abc
import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Dialect, Executable, Row
from sqlalchemy.sql import ClauseElement

from runyard.database.errors import Retryable
from runyard.kernel.errors import NotFound
from runyard.kernel.events import Broker, Event

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_ATTEMPTS = 6
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement answered: rows, fetched whole, and how many rows it changed."""

    rows: Sequence[Row[Any]]
    rowcount: int

    def all(self) -> Sequence[Row[Any]]:
        """Return all rows."""
        return self.rows

    def one_or_none(self) -> Row[Any] | None:
        """Return the first row, None when there is none."""
        return self.rows[0] if self.rows else None

    def one(self) -> Row[Any]:
        """Return the first row; raises NotFound when there is none."""
        if not self.rows:
            raise NotFound
        return self.rows[0]

    def scalar(self) -> Any:  # noqa: ANN401  the caller knows its column
        """Return the first column of the first row, None when there is none."""
        return self.rows[0][0] if self.rows else None


class Prepared:
    """A hot statement, compiled once for each kind of database to what the driver takes.

    `order` names the bind parameters in the order in which `Transaction.run` gets their values. Values are in
    the database's own form (microseconds, JSON text): no type is processed. Rows come as plain tuples.
    """

    __slots__ = ("_compiled", "_order", "_statement")

    def __init__(self, statement: ClauseElement, order: Sequence[str]) -> None:
        """Keep the statement; it is compiled at its first use."""
        self._statement = statement
        self._order = tuple(order)
        self._compiled: dict[str, tuple[str, tuple[tuple[int, Any], ...] | None]] = {}

    def bind(self, dialect: Dialect, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return driver SQL and positional values."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        sql, places = found
        if places is None:
            return sql, values
        return sql, tuple(values[index] if index >= 0 else constant for index, constant in places)

    def _compile(self, dialect: Dialect) -> tuple[str, tuple[tuple[int, Any], ...] | None]:
        compiled = self._statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        index = {name: place for place, name in enumerate(self._order)}
        missing = set(index) - set(names)
        if missing:
            raise ValueError(f"the statement has no parameters {sorted(missing)}")
        places = tuple((index.get(name, -1), compiled.params.get(name)) for name in names)
        straight = [place for place, _ in places] == list(range(len(self._order)))
        return str(compiled), None if straight else places


Step = tuple[Prepared, Sequence[Any]]
"""A prepared statement and its values."""


class Transaction(abc.ABC):
    """Statements that take effect together. Made by `Database`; never commits by itself."""

    __slots__ = ("_after", "_database")

    def __init__(self, database: "Database") -> None:
        """Belong to a database."""
        self._database = database
        self._after: list[Callable[[], object]] = []

    @abc.abstractmethod
    async def execute(self, statement: Executable, params: Parameters | None = None) -> Result:
        """Run a statement. Raises UniqueViolation, ReferenceViolation, InvariantViolation, Retryable."""

    @abc.abstractmethod
    async def run(self, prepared: Prepared, values: Sequence[Any]) -> int:
        """Run a prepared statement and return how many rows it changed."""

    @abc.abstractmethod
    async def fetch(self, prepared: Prepared, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run a prepared statement and return its rows as tuples of database values."""

    async def all(self, statement: Executable, params: Parameters | None = None) -> Sequence[Row[Any]]:
        """Run a statement and return all rows."""
        return (await self.execute(statement, params)).rows

    async def one_or_none(self, statement: Executable, params: Parameters | None = None) -> Row[Any] | None:
        """Run a statement and return its first row, None when there is none."""
        return (await self.execute(statement, params)).one_or_none()

    async def scalar(self, statement: Executable, params: Parameters | None = None) -> Any:  # noqa: ANN401
        """Run a statement and return the first column of its first row, None when there is none."""
        return (await self.execute(statement, params)).scalar()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call a function once this transaction is committed; it is dropped on rollback."""
        self._after.append(callback)

    async def record(self, event: Event) -> None:
        """Append an event row; it is published when the transaction is committed."""
        await self._database.append_event(self, event)

    def committed(self) -> None:
        """Call what was registered; used by the adapters after their commit."""
        for callback in self._after:
            try:
                callback()
            except Exception:  # noqa: BLE001  the commit is a fact; a listener's fault must not undo the answer
                _log.exception("database.after_commit_failed")
        self._after.clear()


class Database(abc.ABC):
    """One opened database and the broker that its events go to."""

    broker: Broker
    dialect: Dialect

    @staticmethod
    async def open(url: str | None, data_dir: Path, *, broker: Broker | None = None) -> "Database":
        """Open SQLite (`sqlite:///path`, default `runyard.db` in the data folder) or PostgreSQL
        (`postgresql://user:password@host/name`) and take the data folder for this process.
        Raises DataFolderInUse, InvalidArgument, DatabaseUnavailable.
        """
        from runyard.database.opening import open_database

        return await open_database(url, data_dir, broker or Broker())

    @property
    def name(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.dialect.name

    @abc.abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a writing transaction: commit at exit, roll back on error. Not to be nested in one task."""

    async def write(self, steps: Sequence[Step]) -> int:
        """Run prepared statements in a transaction of their own: the first one, and the others if it changed a row.
        Return how many rows the first one changed. Raises as `Transaction.execute`.
        """
        async with self.transaction() as tx:
            changed = await tx.run(*steps[0])
            if changed:
                for prepared, values in steps[1:]:
                    await tx.run(prepared, values)
            return changed

    @abc.abstractmethod
    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a consistent read-only view for short statements."""

    @abc.abstractmethod
    def scan(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a read-only view for long statements: they never block the event loop."""

    @abc.abstractmethod
    async def migrate(self) -> None:
        """Bring the schema to this release. Raises SchemaTooNew."""

    @abc.abstractmethod
    async def create_all(self) -> None:
        """Create every table that is imported, without migrations; for tests."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close all connections and give the data folder back; idempotent."""

    @abc.abstractmethod
    async def append_event(self, tx: Transaction, event: Event) -> None:
        """Write an event row in a transaction; used by `Transaction.record`."""

    async def run(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again from the start when the database gave it up for another one
        (serialization failure, deadlock), at most 6 times. `work` must be free of other effects.
        """
        for attempt in range(1, _ATTEMPTS):
            try:
                async with self.transaction() as tx:
                    return await work(tx)
            except Retryable:
                await asyncio.sleep(random.uniform(0.002, 0.01) * 2**attempt)  # noqa: S311
        async with self.transaction() as tx:
            return await work(tx)
