"""Identifiers of the actions domain. Owns their kinds; how ids are made is the kernel's."""

import hashlib

from runyard.kernel.ids import HexId


class ActionId(HexId):
    """Names an action."""

    __slots__ = ()
    kind = "action"


class PackId(HexId):
    """Names a pack."""

    __slots__ = ()
    kind = "pack"


class LiveActionId(HexId):
    """Names an execution by the second id that one dialect gives to each."""

    __slots__ = ()
    kind = "liveaction"


class KeyId(HexId):
    """Names a key of the datastore."""

    __slots__ = ()
    kind = "key"


class TraceId(HexId):
    """Names a trace."""

    __slots__ = ()
    kind = "trace"


class RoleId(HexId):
    """Names a role."""

    __slots__ = ()
    kind = "role"


class AssignmentId(HexId):
    """Names a role of a user."""

    __slots__ = ()
    kind = "assignment"


class TriggerInstanceId(HexId):
    """Names something that happened and that rules may act on."""

    __slots__ = ()
    kind = "trigger instance"


def settled_id(name: str) -> str:
    """Return 24 hex digits that are the same for one name everywhere: for what comes with the product."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]
