"""Tenant scope. Owns the one way in which a statement is narrowed to what a caller may see.

Every store that reads rows of a tenant goes through `scoped`; no statement spells the condition by itself.
"""

from typing import Any, TypeVar

from sqlalchemy import FromClause, Select, and_
from sqlalchemy.sql.elements import ColumnElement

from runyard.identity.model import Scope

Row = TypeVar("Row", bound=tuple[Any, ...])


def visible(table: FromClause, scope: Scope) -> ColumnElement[bool]:
    """Return the condition that a row of `table` lies in the scope.

    The table has `account_id` and `project_path`. A scope that is the account's root sees the whole account, which
    spares the path comparison; below it, paths are compared by range so that an index on them serves.
    """
    of_account = table.c.account_id == scope.account_id
    if is_whole_account(scope):
        return of_account
    path = table.c.project_path
    return and_(of_account, path >= scope.project_path, path < after_prefix(scope.project_path))


def scoped(statement: Select[Row], table: FromClause, scope: Scope) -> Select[Row]:
    """Narrow a select to the rows of a scope."""
    return statement.where(visible(table, scope))


def is_whole_account(scope: Scope) -> bool:
    """Tell whether the scope is an account's root project: a path of one component."""
    return scope.project_path.count("/") <= 2


def after_prefix(path: str) -> str:
    """Return the smallest text above everything that starts with `path` (which ends in `/`)."""
    return path[:-1] + chr(ord(path[-1]) + 1)
