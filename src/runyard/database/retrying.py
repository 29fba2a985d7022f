"""Runs a write again that met another one. Owns the number of tries."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation

T = TypeVar("T")
TRIES: Final = 5


async def run_upsert(database: Database, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Run work that looks for a row and makes it when there is none; again when somebody else made it in between: then it
    is found. Raises UniqueViolation when that does not end.
    """
    for _ in range(TRIES - 1):
        try:
            return await database.run(work)
        except UniqueViolation:
            continue
    return await database.run(work)
