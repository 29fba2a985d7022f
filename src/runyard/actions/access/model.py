"""Permission types, grants, roles and what they add up to for one caller. Pure: reads no database, knows no request.

A grant is a whitelist entry: nothing that is not granted is allowed. Names are those that people have in their files.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

_LOOK: Final = ("list", "view", "all")
_WHOLE: Final = ("list", "view", "create", "modify", "delete", "all")
TYPES: Final[Mapping[str, Sequence[str]]] = {
    "runner_type": ("list", "view", "modify", "all"),
    "pack": (
        "list", "view", "create", "modify", "delete", "install", "uninstall", "register", "config", "search",
        "views_index_health", "all",
    ),
    "sensor_type": ("list", "view", "modify", "all"),
    "action": ("list", "view", "create", "modify", "delete", "execute", "all"),
    "action_alias": ("list", "view", "create", "modify", "match", "help", "delete", "all"),
    "execution": ("list", "view", "rerun", "stop", "views_filters_list", "all"),
    "rule": _WHOLE,
    "rule_enforcement": ("list", "view"),
    "key_value_pair": ("list", "view", "set", "delete", "all"),
    "webhook": ("list", "view", "create", "send", "delete", "all"),
    "timer": _LOOK,
    "trace": _LOOK,
    "trigger": _LOOK,
    "policy_type": _LOOK,
    "policy": _WHOLE,
    "api_key": _WHOLE,
    "stream": ("view",),
    "inquiry": ("list", "view", "respond", "all"),
}  # fmt: skip
"""The resource types and what can be done with each; a permission type is both, with `_` between."""
PERMISSION_TYPES: Final[Mapping[str, Sequence[str]]] = {
    resource: tuple(f"{resource}_{verb}" for verb in verbs) for resource, verbs in TYPES.items()
}
RESOURCE_OF: Final[Mapping[str, str]] = {
    permission: resource for resource, names in PERMISSION_TYPES.items() for permission in names
}
"""The resource type of each permission type."""
_INSIDE: Final[Mapping[str, frozenset[str]]] = {
    "pack": frozenset({"pack", "action", "rule", "sensor_type", "action_alias", "policy", "execution", "inquiry"}),
    "action": frozenset({"action", "execution", "inquiry"}),
    "rule": frozenset({"rule", "rule_enforcement"}),
}  # fmt: skip
"""What a grant on a resource of a type can be about, beside that type itself."""
_READING: Final = frozenset(
    {"list", "view", "search", "match", "help", "views_index_health", "views_filters_list"}
)
ADMIN: Final = "admin"
SYSTEM_ADMIN: Final = "system_admin"
OBSERVER: Final = "observer"
SYSTEM_ROLES: Final[Mapping[str, str]] = {
    SYSTEM_ADMIN: "Does everything and cannot be taken away.",
    ADMIN: "Does everything.",
    OBSERVER: "Looks at everything and changes nothing.",
}
"""The roles that are always there, with their descriptions."""
_ALMIGHTY: Final = frozenset({ADMIN, SYSTEM_ADMIN})


class Grant(msgspec.Struct, frozen=True):
    """Leave to do something with one resource, or with all of its type when it names none."""

    resource_uid: str | None
    permission_types: tuple[str, ...]


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of grants."""

    name: str
    description: str = ""
    enabled: bool = True
    grants: tuple[Grant, ...] = ()
    id: str = ""
    system: bool = False


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A role of a user."""

    user: str
    role: str
    description: str = ""
    id: str = ""


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """All roles that were defined and who holds which."""

    roles: tuple[Role, ...] = ()
    assignments: tuple[Assignment, ...] = ()


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may do beyond what its token allows anyway."""

    user: str
    is_admin: bool
    """By membership or by role, and with a token that is not kept from it."""
    enforced: bool = False
    """Whether grants are asked for; else the permissions of the token were enough."""
    isolated: bool = False
    """Whether executions of other users are out of reach."""
    roles: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()

    @property
    def owner(self) -> str | None:
        """Return the only user whose executions the caller sees; None for those of all."""
        return self.user if self.isolated and not self.is_admin else None

    def allows(self, permission: str, uids: Iterable[str] | None = None) -> bool:
        """Tell whether the caller may do something with a resource, told by its name and those of what it is in.
        Without names: whether it may at all, on whatever resource. To list is to see all of a kind: a grant of
        everything with one resource is none of that.
        """
        if self.is_admin or not self.enforced or not _ALMIGHTY.isdisjoint(self.roles):
            return True
        if OBSERVER in self.roles and verb_of(permission) in _READING:
            return True
        wanted, names = granting(permission), None if uids is None else frozenset(uids)
        lists = uids is None and verb_of(permission) == "list"
        for grant in self.grants:
            fits = names is None or grant.resource_uid is None or grant.resource_uid in names
            if lists and grant.resource_uid is not None:
                fits = permission in grant.permission_types
            if fits and not wanted.isdisjoint(grant.permission_types):
                return True
        return False


def verb_of(permission: str) -> str:
    """Return what a permission type lets do: `view` of `action_view`."""
    return permission[len(RESOURCE_OF[permission]) + 1 :]


def granting(permission: str) -> frozenset[str]:
    """Return the permission types that allow something: itself, all of its kind, what cannot be done without it, and
    those of the action for its executions and of the rule for its enforcements.
    """
    known = _granting.get(permission)
    if known is None:
        known = _granting[permission] = frozenset(_implying(permission))
    return known


_granting: dict[str, frozenset[str]] = {}


def _implying(permission: str) -> Iterable[str]:
    resource, verb = RESOURCE_OF[permission], verb_of(permission)
    yield permission
    yield f"{resource}_all"
    if verb == "view":
        yield from (f"{resource}_{other}" for other in TYPES[resource] if other not in _READING)
    if resource in ("execution", "inquiry"):
        above = {"view": "action_view", "rerun": "action_execute", "stop": "action_execute"}
        above["respond"] = "action_execute"
        if verb in above:
            yield from _implying(above[verb])
    if permission == "rule_enforcement_view":
        yield from _implying("rule_view")


def wrong_grant(grant: Grant) -> str | None:
    """Return what is wrong with a grant, in a sentence."""
    if not grant.permission_types:
        return "a grant needs permission_types"
    unknown = [name for name in grant.permission_types if name not in RESOURCE_OF]
    if unknown:
        return f'there is no permission type "{unknown[0]}"'
    if grant.resource_uid is None:
        return None
    kind, colon, rest = grant.resource_uid.partition(":")
    if kind not in TYPES or not colon or not rest or "\0" in rest:
        return f'"{grant.resource_uid}" is not the uid of a resource: a type, a colon and a name, such as pack:core'
    inside = _INSIDE.get(kind, frozenset()) | {kind}
    for name in grant.permission_types:
        if RESOURCE_OF[name] not in inside:
            return f'the permission type "{name}" cannot be granted on "{grant.resource_uid}"'
    return None
