"""How people write projects."""

from datetime import UTC, datetime

from runyard.identity.model import Project, slug_paths
from runyard.kernel.ids import AccountId, ProjectId

ACCOUNT = AccountId.new()


def node(slug: str, parent: Project | None) -> Project:
    made = ProjectId.new()
    return Project(
        id=made,
        account_id=ACCOUNT,
        parent_id=None if parent is None else parent.id,
        slug=slug,
        name=slug,
        path=f"{'/' if parent is None else parent.path}{made}/",
        depth=0 if parent is None else parent.depth + 1,
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def test_slug_paths_begin_below_the_top() -> None:
    root = node("global", None)
    first = node("default", root)
    second, same = node("web", first), node("default", first)
    assert list(slug_paths([root, first, second, same]).values()) == [
        "/",
        "default",
        "default/web",
        "default/default",
    ]


def test_slug_paths_of_a_part_tell_no_name_above_it() -> None:
    root = node("global", None)
    first = node("hidden", root)
    assert list(slug_paths([first, node("web", first)]).values()) == ["/", "web"]
