"""How a node of the tree of projects comes to be. Owns what its slug and name may be and how deep it may lie."""

import re
from datetime import datetime
from typing import Final

from runyard.database.engine import Transaction
from runyard.database.errors import ReferenceViolation, UniqueViolation
from runyard.identity import store
from runyard.identity.errors import SlugTaken, TreeTooDeep
from runyard.identity.model import MAX_DEPTH, Project
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.ids import AccountId, ProjectId

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")


async def add_node(
    tx: Transaction, account_id: AccountId, parent: Project | None, slug: str, name: str, now: datetime
) -> Project:
    """Write a node below another, or the root. Raises SlugTaken, TreeTooDeep, NotFound, InvalidArgument."""
    check_names(slug, name)
    depth = 0 if parent is None else parent.depth + 1
    if depth >= MAX_DEPTH:
        raise TreeTooDeep
    project_id = ProjectId.new()
    project = Project(
        id=project_id,
        account_id=account_id,
        parent_id=None if parent is None else parent.id,
        slug=slug,
        name=name,
        path=f"{'/' if parent is None else parent.path}{project_id}/",
        depth=depth,
        created_at=now,
    )
    try:
        await store.insert_project(tx, project)
    except UniqueViolation:
        raise SlugTaken(f"there is a project {slug!r} at this place already") from None
    except ReferenceViolation:
        raise NotFound("the parent project was deleted meanwhile") from None
    return project


def check_names(slug: str, name: str) -> None:
    """Refuse a slug or name that a project cannot have. Raises InvalidArgument."""
    if SLUG.match(slug) is None:
        raise InvalidArgument(
            "a slug has 1 to 64 lower-case letters, digits, dots, dashes or underscores and begins and ends "
            "with a letter or digit"
        )
    if not 1 <= len(name) <= 256 or "\0" in name:
        raise InvalidArgument("a project needs a name of 1 to 256 characters")
