"""How long environments lived in all. Owns the sums over their table; knows no single one."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, case, func, literal, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from runyard.database.engine import Database
from runyard.environments.model import ENDED
from runyard.environments.tables import environments
from runyard.identity.model import Scope
from runyard.identity.scoping import visible
from runyard.kernel.clock import unix_micros, utc_now

_e = environments.c


@dataclass(frozen=True, slots=True)
class Usage:
    """What the environments of a part of the tree took, in whole seconds."""

    sessions: int
    total_secs: int
    month_secs: int
    """Of the month that runs now, in UTC."""


class UsageService:
    """Sums over environments."""

    def __init__(self, database: Database) -> None:
        """Read a database."""
        self._database = database

    async def usage(self, scope: Scope, now: datetime | None = None) -> Usage:
        """Return how long the environments of a scope lived, those that live included up to now."""
        moment = now or utc_now()
        month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = case(
            (_e.state.in_(list(ENDED)), type_coerce(_e.updated_at, BigInteger)), else_=unix_micros(moment)
        )
        begin = type_coerce(_e.created_at, BigInteger)
        statement = select(
            func.count().label("sessions"),
            func.sum(_from(begin, end, 0)).label("whole"),
            func.sum(_from(begin, end, unix_micros(month))).label("recent"),
        ).select_from(environments)
        async with self._database.read() as tx:
            row = (await tx.execute(statement.where(visible(environments, scope)))).one()
        return Usage(row.sessions, int(row.whole or 0) // 1_000_000, int(row.recent or 0) // 1_000_000)


def _from(begin: ColumnElement[int], end: ColumnElement[int], since: int) -> ColumnElement[int]:
    """Return the part of a life that lies after a moment."""
    later = case((begin < since, literal(since, BigInteger)), else_=begin)
    return case((end > later, end - later), else_=0)
