"""Errors of the database port. Owns the translation of driver errors into domain errors; nothing retries here."""

import re
from functools import cache

from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint

from runyard.database.metadata import metadata
from runyard.kernel.errors import AlreadyExists, Conflict, FailedPrecondition, RunyardError, Unavailable


class UniqueViolation(AlreadyExists):
    """A resource with this name or key exists already."""

    def __init__(self, constraint: str) -> None:
        """Carry the name of the constraint, by which a store chooses its own message."""
        super().__init__(None, constraint=constraint)
        self.constraint = constraint


class ReferenceViolation(Conflict):
    """The resource is still used by another one, or refers to one that does not exist."""


class InvariantViolation(RunyardError):
    """The database refused a row that breaks an invariant."""

    code = "invariant"


class DataFolderInUse(FailedPrecondition):
    """Another server process uses this data folder."""


class SchemaTooNew(FailedPrecondition):
    """The database was written by a newer release; start that release, or restore a backup."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or is locked by somebody else."""


class Retryable(Conflict):
    """The database gave up this transaction in favour of another one; run it again."""


_SQLITE_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")
_SQLITE_INDEX = re.compile(r"index '([^']+)'")


@cache
def _unique_names() -> dict[tuple[str, tuple[str, ...]], str]:
    """Index all unique keys by table and columns: SQLite tells the columns of a violation, never the name."""
    names: dict[tuple[str, tuple[str, ...]], str] = {}
    for table in metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint | PrimaryKeyConstraint):
                names[table.name, tuple(sorted(constraint.columns.keys()))] = str(constraint.name)
        for index in table.indexes:
            if index.unique:
                names[table.name, tuple(sorted(index.columns.keys()))] = str(index.name)
    return names


def translate_sqlite(message: str) -> RunyardError:
    """Turn the text of a `sqlite3.IntegrityError` into a domain error."""
    if "FOREIGN KEY" in message:
        return ReferenceViolation()
    found = _SQLITE_UNIQUE.search(message)
    if found is None:
        return InvariantViolation(message)
    by_index = _SQLITE_INDEX.search(message)
    if by_index is not None:
        return UniqueViolation(by_index.group(1))
    columns = [part.strip().split(".") for part in found.group(1).split(",")]
    key = columns[0][0], tuple(sorted(column[-1] for column in columns))
    return UniqueViolation(_unique_names().get(key, ".".join((key[0], *key[1]))))


def translate_postgresql(state: str | None, constraint: str | None, message: str) -> RunyardError | None:
    """Turn an SQLSTATE into a domain error, or None when it is none of ours."""
    match state:
        case "23505":
            return UniqueViolation(constraint or "unknown")
        case "23503":
            return ReferenceViolation()
        case "40001" | "40P01":
            return Retryable()
        case "08000" | "08001" | "08003" | "08004" | "08006" | "57P01" | "57P02" | "57P03" | "53300":
            return DatabaseUnavailable(message)
        case str() if state.startswith("23"):
            return InvariantViolation(message)
    return None
