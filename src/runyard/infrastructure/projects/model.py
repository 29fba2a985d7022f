"""Projects with their settings. Owns the types and what inherits what; no I/O."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.identity.model import Project
from runyard.infrastructure.projects.errors import InvalidProject
from runyard.infrastructure.workspaces.model import POOL_ID

LONGEST_NAME: Final = 256
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_UNFIT: Final = re.compile(r"[^a-z0-9]+")


class ProjectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What infrastructure knows of a project; a project without a row has these defaults."""

    description: str = ""
    labels: Sequence[str] = ()
    """In the order in which they were given."""
    pool_id: str | None = None
    cron: str = ""
    """Five fields in UTC; empty means that of the nearest project above."""
    oidc: bool | None = None
    """None inherits from the parent."""
    extras: Mapping[str, Any] = {}
    """What only one dialect knows, under that dialect's name."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A project with its settings, as one caller sees it."""

    project: Project
    settings: ProjectSettings
    members: int = 0
    workspaces: int = 0
    top: bool = False
    """It is the top of what the caller sees, so that nobody learns what is above the own part."""

    @property
    def parent_id(self) -> str:
        """Return the parent's id; empty at the top."""
        return "" if self.top or self.project.parent_id is None else str(self.project.parent_id)


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """What a project shall be."""

    name: str
    parent_id: str | None = None
    """None means the caller's own project."""
    settings: ProjectSettings = ProjectSettings()


class ProjectChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; UNSET leaves a member as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    labels: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    pool_id: str | msgspec.UnsetType | None = msgspec.UNSET
    cron: str | msgspec.UnsetType = msgspec.UNSET
    oidc: bool | msgspec.UnsetType | None = msgspec.UNSET


def slug_of(name: str) -> str:
    """Return the slug of a project by its name: the name in lower case where that is one, else what is left of it with a
    mark by which two different names never meet. Siblings have different slugs, hence different names, case ignored.
    """
    lowered = name.lower()
    if _SLUG.match(lowered):
        return lowered
    mark = hashlib.sha256(lowered.encode()).hexdigest()[:8]
    return f"{_UNFIT.sub('-', lowered).strip('-')[:55].rstrip('-') or 'project'}-{mark}"


def check(name: str, settings: ProjectSettings) -> None:
    """Refuse what no project can be. Raises InvalidProject."""
    if not name.strip():
        raise InvalidProject("Name is required")
    if len(name) > LONGEST_NAME or _unprintable(name) or "/" in name:
        raise InvalidProject(f"Name has at most {LONGEST_NAME} printable characters and no slash")
    if len(settings.description) > 4096 or "\0" in settings.description:
        raise InvalidProject("Description has at most 4096 characters")
    if len(settings.labels) > 100 or any(
        not 1 <= len(one) <= 256 or _unprintable(one) for one in settings.labels
    ):
        raise InvalidProject("Labels are at most 100 texts of 1 to 256 printable characters")
    if settings.pool_id and POOL_ID.match(settings.pool_id) is None:
        raise InvalidProject("Pool Id is not valid: expected a UUID")


def _unprintable(text: str) -> bool:
    return any(ord(one) < 32 or ord(one) == 127 or "\ud800" <= one <= "\udfff" for one in text)


def inherited(path: str, known: Mapping[str, ProjectSettings]) -> ProjectSettings:
    """Return what holds at a path of the tree: of each setting that of the nearest project that has one."""
    cron, pool, oidc = "", None, None
    for project_id in path.split("/"):
        settings = known.get(project_id)
        if settings is not None:
            cron, pool = settings.cron or cron, settings.pool_id or pool
            oidc = settings.oidc if settings.oidc is not None else oidc
    return ProjectSettings(cron=cron, pool_id=pool, oidc=oidc)


def selected(
    placed: Sequence[Placed], *, text: str = "", max_depth: int | None = None, pool_id: str | None = None
) -> Sequence[Placed]:
    """Keep the projects whose name has a text in it, that lie in the first levels below the top, with a pool."""
    top = min((one.project.depth for one in placed), default=0)
    return [
        one
        for one in placed
        if text.lower() in one.project.name.lower()
        and (max_depth is None or one.project.depth - top < max_depth)
        and (pool_id is None or one.settings.pool_id == pool_id)
    ]


def with_ancestors(placed: Sequence[Placed], wanted: Sequence[Placed]) -> Sequence[Placed]:
    """Return projects with everything between them and the top, so that they can be shown as a tree."""
    needed = {part for one in wanted for part in one.project.path.split("/")}
    return [one for one in placed if one.project.id in needed]


def using(placed: Sequence[Placed], project_ids: Sequence[str]) -> Sequence[Placed]:
    """Return the projects to which values flow that are consumed at some projects: those and all below them."""
    known = set(project_ids)
    return [one for one in placed if known.intersection(one.project.path.split("/"))]
