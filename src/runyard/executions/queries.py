"""The listing of the ledger. Owns how filters become one bounded statement; a page never counts.

One filter drives: its index gives the rows in the order of the page. The others are conditions on the rows that
come up. At most `EXAMINED` rows are looked at for one page, so a page may be short, even empty, and still have a
next cursor: follow it to the end.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, or_, select, union_all
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from runyard.database.engine import Transaction
from runyard.executions.model import Execution, ExecutionFilter, Tenant
from runyard.executions.store import execution_from_row
from runyard.executions.tables import execution_labels, executions
from runyard.kernel.clock import from_unix_micros, unix_micros
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.paging import Page, decode_cursor, encode_cursor

MAX_LIMIT = 1000
EXAMINED = 5_000
"""Rows that one page looks at, at most, when its driving index does not answer alone."""
_MAX_BRANCHES = 16

_c = executions.c
_labels = execution_labels.c
Condition = ColumnElement[bool]


class _Branch:
    """One walk along an index: equalities that it serves, and the two columns of its order."""

    def __init__(self, condition: Condition, source: FromClause = executions) -> None:
        self.condition = condition
        self.source = source
        labels = source is not executions
        self.created: ColumnElement[Any] = _labels.created_at if labels else _c.created_at
        self.seq: ColumnElement[Any] = _labels.execution_seq if labels else _c.seq

    def positions(self, conditions: Sequence[Condition], limit: int) -> Select[Any]:
        """Select the positions of the first rows that fulfil everything, newest first."""
        columns = (self.created.label("created_at"), self.seq.label("seq"))
        statement = select(*columns).select_from(self.source).where(self.condition, *conditions)
        return statement.order_by(self.created.desc(), self.seq.desc()).limit(limit)


class _Plan:
    """What drives a listing, and what is only checked."""

    def __init__(
        self, branches: Sequence[_Branch], residual: Sequence[Condition], bounds: ExecutionFilter
    ) -> None:
        self.branches = branches
        self.residual = residual
        self._bounds = bounds

    def after(self, branch: _Branch, position: tuple[int, int] | None) -> list[Condition]:
        """Return the range of positions of a page: the filter's times, and after the cursor."""
        conditions: list[Condition] = []
        if self._bounds.created_from is not None:
            conditions.append(branch.created >= self._bounds.created_from)
        if self._bounds.created_to is not None:
            conditions.append(branch.created < self._bounds.created_to)
        if position is not None:
            moment = from_unix_micros(position[0])
            # The first condition is implied by the second; it is the one that every planner turns into a range.
            conditions.append(branch.created <= moment)
            conditions.append(or_(branch.created < moment, branch.seq < position[1]))
        return conditions

    def first(
        self, position: tuple[int, int] | None, floor: tuple[int, int] | None, limit: int
    ) -> Select[Any]:
        """Select positions of rows after `position`, down to `floor` inclusive."""
        selects = []
        for branch in self.branches:
            conditions = self.after(branch, position)
            if floor is not None:
                moment = from_unix_micros(floor[0])
                conditions.append(branch.created >= moment)
                conditions.append(or_(branch.created > moment, branch.seq >= floor[1]))
            if branch.source is not executions and self.residual:
                conditions.append(select(_c.seq).where(_c.seq == branch.seq, *self.residual).exists())
            else:
                conditions += self.residual
            selects.append(branch.positions(conditions, limit))
        return _merged(selects, limit)

    def floor(self, position: tuple[int, int] | None) -> Select[Any]:
        """Select the position of the last row that may be looked at, nothing when the walk ends before."""
        selects = [branch.positions(self.after(branch, position), EXAMINED) for branch in self.branches]
        return _merged(selects, 1).offset(EXAMINED - 1)


async def list_page(
    tx: Transaction, dialect: str, scope: Tenant, wanted: ExecutionFilter, limit: int, cursor: str | None
) -> Page[Execution]:
    """Read one page, newest first. Raises InvalidArgument."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"the limit must be 1 to {MAX_LIMIT}")
    position = None
    if cursor is not None:
        created, seq = decode_cursor(cursor, int, int)
        position = (int(created), int(seq))
    plan = await _planned(tx, dialect, scope, wanted)
    floor = None
    if plan.residual:
        row = await tx.one_or_none(plan.floor(position))
        floor = None if row is None else (unix_micros(row.created_at), int(row.seq))
    page = plan.first(position, floor, limit + 1).subquery("page")
    statement = (
        select(executions)
        .join(page, _c.seq == page.c.seq)
        .order_by(page.c.created_at.desc(), page.c.seq.desc())
    )
    rows = await tx.all(statement)
    items = [execution_from_row(row) for row in rows[:limit]]
    if len(rows) > limit:
        last = rows[limit - 1]
        return Page(items, encode_cursor(unix_micros(last.created_at), last.seq))
    return Page(items, None if floor is None else encode_cursor(*floor))


def _merged(selects: Sequence[Select[Any]], limit: int) -> Select[Any]:
    if len(selects) == 1:
        return selects[0].limit(limit)
    merged = union_all(*(select(part.subquery()) for part in selects)).subquery()
    return select(merged).order_by(merged.c.created_at.desc(), merged.c.seq.desc()).limit(limit)


async def _planned(tx: Transaction, dialect: str, scope: Tenant, wanted: ExecutionFilter) -> _Plan:
    """Choose the driver: the filter that leaves fewest rows, by the nature of the column."""
    account = _c.account_id == scope.account_id
    candidates = _candidates(dialect, scope, wanted)
    narrowed = scope.project_path.count("/") > 2
    if not candidates and narrowed:
        paths = await _paths_below(tx, scope)
        if len(paths) <= _MAX_BRANCHES:
            branches = [_Branch(and_(account, _c.project_path == path)) for path in paths or ("",)]
            return _Plan(branches, _residual(wanted, dialect, scope, None), wanted)
    name, branches = candidates[0] if candidates else (None, [_Branch(account)])
    residual = list(_residual(wanted, dialect, scope, name))
    if narrowed:
        residual.append(_c.project_path.between(scope.project_path, scope.project_path + "~"))
    return _Plan(branches, residual, wanted)


def _candidates(dialect: str, scope: Tenant, wanted: ExecutionFilter) -> list[tuple[str, list[_Branch]]]:
    """List what could drive, best first."""
    account = _c.account_id == scope.account_id
    owned = (
        _plain(_c.account_id, dialect) == scope.account_id
    )  # for columns whose index does not begin with it
    found: list[tuple[str, list[_Branch]]] = []
    for name in ("parent_id", "place_id"):
        value = getattr(wanted, name)
        if value is not None:
            found.append((name, [_Branch(and_(_c[name] == value, owned))]))
    if wanted.root_id is not None:
        found.append(
            (
                "root_id",
                [
                    _Branch(and_(_c.root_id == wanted.root_id, _c.parent_id.is_not(None), owned)),
                    _Branch(and_(_c.id == wanted.root_id, owned)),
                ],
            )
        )
    for label, value in wanted.labels.items():
        condition = and_(
            _labels.account_id == scope.account_id, _labels.name == label, _labels.value == value
        )
        found.append((f"label:{label}", [_Branch(condition, execution_labels)]))
        break
    if wanted.actor is not None:
        found.append(("actor", [_Branch(and_(account, _c.actor == wanted.actor))]))
    for name, values in (("statuses", wanted.statuses), ("kinds", wanted.kinds)):
        column = _c.status if name == "statuses" else _c.kind
        if values and len(values) <= _MAX_BRANCHES:
            found.append(
                (name, [_Branch(and_(account, column == value.value)) for value in dict.fromkeys(values)])
            )
    if wanted.door is not None:
        found.append(("door", [_Branch(and_(account, _c.door == wanted.door))]))
    return found


def _residual(wanted: ExecutionFilter, dialect: str, scope: Tenant, driver: str | None) -> list[Condition]:
    """Return the conditions that the driver does not serve, out of reach of every other index."""
    conditions: list[Condition] = []
    for name in ("request_id", "parent_id", "place_id", "root_id", "actor", "door", "place_kind"):
        value = getattr(wanted, name)
        if value is not None and name != driver:
            conditions.append(_plain(_c[name], dialect) == value)
    if wanted.statuses and driver != "statuses":
        conditions.append(_plain(_c.status, dialect).in_([value.value for value in wanted.statuses]))
    if wanted.kinds and driver != "kinds":
        conditions.append(_plain(_c.kind, dialect).in_([value.value for value in wanted.kinds]))
    if wanted.top_only:
        conditions.append(_plain(_c.parent_id, dialect).is_(None))
    for name, value in wanted.labels.items():
        if driver != f"label:{name}":
            conditions.append(_has_label(scope, name, value))
    if wanted.text:
        text = wanted.text.lower()
        conditions.append(
            or_(
                func.lower(_c.name).contains(text, autoescape=True),
                func.lower(_c.command).contains(text, autoescape=True),
            )
        )
    return conditions


def _has_label(scope: Tenant, name: str, value: str) -> Condition:
    return (
        select(_labels.execution_seq)
        .where(
            _labels.account_id == scope.account_id,
            _labels.name == name,
            _labels.value == value,
            _labels.created_at == _c.created_at,
            _labels.execution_seq == _c.seq,
        )
        .exists()
    )


def _plain(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Keep SQLite's planner, which has no statistics, from leaving the driving index for this column's."""
    if dialect != "sqlite":
        return column
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


async def _paths_below(tx: Transaction, scope: Tenant) -> Sequence[str]:
    """Find the projects below a scope that have executions, hopping along the index from one to the next."""
    paths: list[str] = []
    last, end = scope.project_path, scope.project_path + "~"
    own = True
    while len(paths) <= _MAX_BRANCHES:
        beyond = _c.project_path >= last if own else _c.project_path > last
        statement = select(func.min(_c.project_path)).where(
            _c.account_id == scope.account_id, beyond, _c.project_path < end
        )
        found = await tx.scalar(statement)
        if found is None:
            break
        paths.append(str(found))
        last, own = str(found), False
    return paths
