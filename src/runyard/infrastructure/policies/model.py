"""Governance policies. Owns their shape; evaluates nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from runyard.kernel.ids import AccountId, HexId, ProjectId

LEVELS: Final = ("trace", "info", "low", "medium", "high", "critical")
"""Severities by name, 1 to 6 as numbers."""


class PolicyId(HexId):
    """Names a policy."""

    __slots__ = ()
    kind = "policy"


class PolicyFields(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a policy."""

    name: str
    description: str = ""
    code: str
    """Base64 exactly as it came."""
    types: Sequence[str] = ()
    """Resource types, `*` allowed; empty means all."""
    provider_ids: Sequence[str] = ()
    """Kept for the client; what a policy looks at is decided by the resource type."""
    labels: Sequence[str] = ()
    severity: int = 3
    """From 1, trace, to 6, critical; low when nobody says, as the provider documents it."""
    category: str = ""
    frameworks: Sequence[str] = ()
    enabled: bool = True


class Policy(PolicyFields, frozen=True, kw_only=True):
    """A policy of an account."""

    id: PolicyId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class PolicyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which policies to list: any of each list, all that is given."""

    query: str = ""
    ids: Sequence[str] = ()
    labels: Sequence[str] = ()
    frameworks: Sequence[str] = ()
    category: str = ""
    types: Sequence[str] = ()
    severities: Sequence[int] = ()
    providers: Sequence[str] = ()
    only_enabled: bool = False
    sorting: Sequence[tuple[str, bool]] = ()
    """Fields and whether each descends."""


class PolicyPackage(msgspec.Struct, frozen=True, kw_only=True):
    """Rego that policies share."""

    name: str
    code: str
    updated_by: str
    updated_at: datetime
