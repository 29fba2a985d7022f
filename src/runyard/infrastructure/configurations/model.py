"""What a configuration version is: an archive of code, announced, then uploaded once, then used by runs. Pure types."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from runyard.kernel.ids import AccountId, HexId, ProjectId, WorkspaceId

RETENTION: Final = timedelta(days=7)
"""How long code is kept for runs that are still to come; a run unpacks it when it begins."""


class ConfigurationId(HexId):
    """Names a configuration version."""

    __slots__ = ()
    kind = "configuration version"


class ConfigurationStatus(StrEnum):
    """How far it is."""

    PENDING = "pending"
    """Announced; its bytes have not come."""
    UPLOADED = "uploaded"
    ERRORED = "errored"
    """Its bytes were refused; `error` says why."""
    ARCHIVED = "archived"
    """Its bytes are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration version."""

    id: ConfigurationId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    workspace_id: WorkspaceId
    status: ConfigurationStatus
    speculative: bool
    """Good for plans only."""
    created_at: datetime
    created_by: str
    blob: str | None = None
    size: int = 0
    error: str = ""
