"""Grants: what they allow, what they imply, what is inherited, and what is wrong with definitions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.actions.access.definitions import read_definitions
from runyard.actions.access.model import (
    OBSERVER,
    PERMISSION_TYPES,
    RESOURCE_OF,
    Access,
    Grant,
    granting,
    verb_of,
    wrong_grant,
)
from runyard.kernel.errors import InvalidArgument

EXECUTION = ("execution:1", "action:core:local", "pack:core")
names = st.sampled_from(sorted(RESOURCE_OF))


def access(*grants: Grant, roles: tuple[str, ...] = (), **more: Any) -> Access:
    """Return the rights of bob."""
    return Access(user="bob", is_admin=False, enforced=True, grants=grants, roles=roles, **more)


@pytest.mark.parametrize(
    ("granted", "on", "wanted", "allowed"),
    [
        ("action_execute", "pack:core", "action_execute", True),
        ("action_execute", "action:core:local", "execution_view", True),
        ("action_execute", "action:core:local", "execution_stop", True),
        ("action_execute", "pack:core", "execution_rerun", True),
        ("action_execute", "pack:core", "inquiry_respond", True),
        ("action_execute", "action:core:remote", "execution_view", False),
        ("action_view", "pack:core", "execution_view", True),
        ("action_view", "pack:core", "execution_stop", False),
        ("action_view", "pack:core", "action_execute", False),
        ("action_delete", "pack:core", "action_view", True),
        ("pack_all", "pack:core", "action_view", False),
        ("action_all", "pack:core", "action_delete", True),
        ("action_all", None, "action_delete", True),
        ("action_all", "pack:linux", "action_delete", False),
        ("execution_all", "pack:core", "execution_stop", True),
        ("action_list", None, "action_view", False),
    ],
)  # fmt: skip
def test_grants_allow_what_they_name_and_imply(
    granted: str, on: str | None, wanted: str, allowed: bool
) -> None:
    assert access(Grant(on, (granted,))).allows(wanted, EXECUTION) is allowed


@given(wanted=names)
def test_nothing_is_allowed_without_a_grant_and_all_to_admins(wanted: str) -> None:
    assert not access().allows(wanted, EXECUTION)
    assert not access().allows(wanted)
    assert access(roles=("admin",)).allows(wanted, EXECUTION)
    assert Access(user="a", is_admin=True, enforced=True).allows(wanted)
    looks = verb_of(wanted) in (
        "list",
        "view",
        "search",
        "match",
        "help",
        "views_index_health",
        "views_filters_list",
    )
    assert access(roles=(OBSERVER,)).allows(wanted, EXECUTION) is looks


@given(wanted=names, granted=names)
def test_more_is_never_allowed_on_one_resource_than_on_all(wanted: str, granted: str) -> None:
    bound, free = access(Grant("pack:core", (granted,))), access(Grant(None, (granted,)))
    assert free.allows(wanted, EXECUTION) or not bound.allows(wanted, EXECUTION)
    assert not bound.allows(wanted, ("pack:other",))
    assert free.allows(wanted) is (granted in granting(wanted))


def test_every_permission_type_is_allowed_by_itself_and_by_all_of_its_kind() -> None:
    for resource, types in PERMISSION_TYPES.items():
        for one in types:
            assert access(Grant(None, (one,))).allows(one)
            if f"{resource}_all" in types:
                assert access(Grant(None, (f"{resource}_all",))).allows(one)


@pytest.mark.parametrize(
    ("grant", "lists"),
    [
        (Grant(None, ("key_value_pair_all",)), True),
        (Grant(None, ("key_value_pair_list",)), True),
        (Grant("key_value_pair:st2kv.system:one", ("key_value_pair_list",)), True),
        (Grant("key_value_pair:st2kv.system:one", ("key_value_pair_all",)), False),
    ],
)
def test_list_of_a_kind_is_not_allowed_by_everything_with_one_resource(grant: Grant, lists: bool) -> None:
    assert access(grant).allows("key_value_pair_list") is lists


def test_isolation_leaves_users_their_own_and_admins_all() -> None:
    assert access(isolated=True).owner == "bob"
    assert access().owner is None
    assert Access(user="root", is_admin=True, isolated=True).owner is None


@pytest.mark.parametrize(
    ("grant", "text"),
    [
        (Grant("pack:core", ("action_fly",)), "no permission type"),
        (Grant("core", ("action_view",)), "not the uid"),
        (Grant("bogus:x", ("action_view",)), "not the uid"),
        (Grant("pack:", ("pack_view",)), "not the uid"),
        (Grant("action:core:local", ("rule_view",)), "cannot be granted"),
        (Grant(None, ()), "needs permission_types"),
    ],
)
def test_wrong_grants_are_told(grant: Grant, text: str) -> None:
    assert text in (wrong_grant(grant) or "")


@pytest.mark.parametrize(
    ("roles", "assignments", "text"),
    [
        ([{"name": "admin"}], [], "one of the system"),
        ([{"name": "a"}, {"name": "a"}], [], "there twice"),
        ([{"name": ""}], [], "needs a name"),
        ([{"name": "a", "more": 1}], [], "no member"),
        ([{"name": "a", "permission_grants": "x"}], [], "must be a list"),
        ([{"name": "a", "permission_grants": [5]}], [], "must be a mapping"),
        ([{"name": "a", "enabled": 1}], [], "true or false"),
        ([5], [], "must be a mapping"),
        ([], [{"username": "bob", "roles": ["nope"]}], "not defined"),
        ([], [{"username": "bob", "roles": ["admin"]}, {"username": "bob", "roles": ["admin"]}], "there twice"),
        ([], [{"roles": ["admin"]}], "needs a username"),
        ([], [{"username": "bob", "roles": [[]]}], "not defined"),
    ],
)  # fmt: skip
def test_wrong_definitions_are_refused(roles: list[Any], assignments: list[Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        read_definitions(roles, assignments)
