"""From documents that people write to checked definitions of roles. Owns their form; reads no file and no database."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.actions.access.model import SYSTEM_ROLES, Assignment, Definitions, Grant, Role, wrong_grant
from runyard.kernel.errors import InvalidArgument

MOST: Final = 10_000
"""Roles, and assignments, of one account."""
_LONGEST_NAME: Final = 128
_LONGEST_USER: Final = 256


def read_definitions(roles: Sequence[Any], assignments: Sequence[Any]) -> Definitions:
    """Check documents of roles (`name`, `description`, `enabled`, `permission_grants`) and of assignments (`username`,
    `roles`, `description`, `enabled`). Raises InvalidArgument with the first that is wrong.
    """
    if len(roles) > MOST or len(assignments) > MOST:
        raise InvalidArgument(f"there can be {MOST} roles and as many users with roles")
    found = [_role(one) for one in roles]
    names = [one.name for one in found]
    _check_unique(names, "role")
    held: list[Assignment] = []
    for document in assignments:
        held += _assignments(document, frozenset(names) | SYSTEM_ROLES.keys())
    _check_unique([f"{one.role} of {one.user}" for one in held], "assignment")
    return Definitions(roles=tuple(found), assignments=tuple(held))


def _check_unique(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidArgument(f'the {what} "{name}" is there twice')
        seen.add(name)


def _role(document: object) -> Role:
    given = _members(document, "role", {"name", "description", "enabled", "permission_grants"})
    name = _text(given, "name", "role", _LONGEST_NAME)
    if name in SYSTEM_ROLES:
        raise InvalidArgument(f'the role "{name}" is one of the system and cannot be defined')
    grants = given.get("permission_grants") or []
    if not isinstance(grants, Sequence) or isinstance(grants, str):
        raise InvalidArgument(f'permission_grants of the role "{name}" must be a list')
    return Role(
        name=name,
        description=_described(given, f'the role "{name}"'),
        enabled=_switch(given, f'the role "{name}"'),
        grants=tuple(_grant(one, name) for one in grants),
    )


def _grant(document: object, role: str) -> Grant:
    given = _members(document, f'grant of the role "{role}"', {"resource_uid", "permission_types"})
    uid, types = given.get("resource_uid"), given.get("permission_types")
    if uid is not None and not isinstance(uid, str):
        raise InvalidArgument(f'the role "{role}": resource_uid must be a text')
    if (
        not isinstance(types, Sequence)
        or isinstance(types, str)
        or not all(isinstance(one, str) for one in types)
    ):
        raise InvalidArgument(f'the role "{role}": permission_types must be a list of texts')
    grant = Grant(uid or None, tuple(types))
    wrong = wrong_grant(grant)
    if wrong is not None:
        raise InvalidArgument(f'the role "{role}": {wrong}')
    return grant


def _assignments(document: object, known: frozenset[str]) -> list[Assignment]:
    given = _members(document, "assignment", {"username", "roles", "description", "enabled"})
    user = _text(given, "username", "assignment", _LONGEST_USER)
    roles = given.get("roles") or []
    if not isinstance(roles, Sequence) or isinstance(roles, str):
        raise InvalidArgument(f'roles of the user "{user}" must be a list')
    for role in roles:
        if not isinstance(role, str) or role not in known:
            raise InvalidArgument(f'the user "{user}" is given a role that is not defined: {role!r}')
    if not _switch(given, f'the assignment of "{user}"'):
        return []
    description = _described(given, f'the assignment of "{user}"')
    return [Assignment(user=user, role=role, description=description) for role in roles]


def _members(document: object, what: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise InvalidArgument(f"every {what} must be a mapping")
    unknown = [str(name) for name in document if name not in known]
    if unknown:
        raise InvalidArgument(f'a {what} has no member "{unknown[0]}"')
    return document


def _text(given: Mapping[str, Any], name: str, what: str, longest: int) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or "\0" in value:
        raise InvalidArgument(f"every {what} needs a {name} of 1 to {longest} characters")
    return value


def _described(given: Mapping[str, Any], what: str) -> str:
    value = given.get("description") or ""
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgument(f"the description of {what} must be a text")
    return value


def _switch(given: Mapping[str, Any], what: str) -> bool:
    value = given.get("enabled", True)
    if not isinstance(value, bool):
        raise InvalidArgument(f"enabled of {what} must be true or false")
    return value
