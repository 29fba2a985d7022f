"""Scopes and principals, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.identity.model import ALL_PERMISSIONS, ROLE_PERMISSIONS, Permission, Principal, Role, Scope
from runyard.identity.scoping import after_prefix, is_whole_account
from runyard.kernel.errors import PermissionDenied
from runyard.kernel.ids import AccountId, ProjectId, UserId

segments = st.lists(st.text("0123456789abcdef", min_size=24, max_size=24), min_size=1, max_size=5)
paths = segments.map(lambda parts: f"/{'/'.join(parts)}/")


def principal(*permissions: Permission) -> Principal:
    scope = Scope(AccountId.new(), ProjectId.new(), "/x/")
    return Principal(scope, UserId.new(), "someone", None, frozenset(permissions))


@given(paths, paths)
def test_range_of_a_scope_holds_exactly_what_lies_below_it(scope: str, path: str) -> None:
    assert (scope <= path < after_prefix(scope)) == path.startswith(scope)


@given(paths, segments)
def test_range_of_a_scope_holds_all_descendants(scope: str, below: list[str]) -> None:
    path = f"{scope}{'/'.join(below)}/"
    assert scope <= path < after_prefix(scope)


@pytest.mark.parametrize(("path", "whole"), [("/a/", True), ("/a/b/", False), ("/a/b/c/", False)])
def test_root_is_the_whole_account(path: str, whole: bool) -> None:
    assert is_whole_account(Scope(AccountId.new(), ProjectId.new(), path)) is whole


def test_require_names_the_permission_that_is_missing() -> None:
    with pytest.raises(PermissionDenied, match="runtimes:exec"):
        principal(Permission.RUNTIMES_READ).require(Permission.RUNTIMES_EXEC)
    principal(Permission.RUNTIMES_EXEC).require(Permission.RUNTIMES_EXEC)


def test_admin_holds_everything() -> None:
    assert all(principal(Permission.ADMIN).may(permission) for permission in Permission)


def test_roles_are_nested_and_only_admins_administrate() -> None:
    viewer, operator, admin = (ROLE_PERMISSIONS[role] for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN))
    assert viewer < operator < admin == ALL_PERMISSIONS
    assert not operator & {Permission.ADMIN, Permission.TOKENS_MANAGE}
    assert all(permission.value.endswith(":read") for permission in viewer)
