"""Task sets: by the vendor's command, and on the wire with another organization."""

from typing import Any

import pytest
import yaml

from tests.support.dn import Dn
from tests.support.http import Api
from tests.support.packages import push, task
from tests.support.server import Server

SETS = "/api/v1/org/default/task-sets"


@pytest.fixture(scope="module")
def tenants(two_organizations: tuple[Server, Api, Api]) -> tuple[Server, Api, Api]:
    """Give the first organization a public and a private task."""
    mine = two_organizations[1]
    for name, version in (("open", "0.1.0"), ("open", "0.2.0"), ("closed", "0.1.0")):
        push(mine, task(name=name, version=version), name=name, version=version).expect(201)
    mine.patch("/api/v1/org/default/tasks/open/visibility", {"is_public": True}).expect(200)
    return two_organizations


def test_dn_task_set_goes_from_file_to_removal(
    tenants: tuple[Server, Api, Api], tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, mine, _ = tenants
    dn = Dn(server, tmp_path_factory.mktemp("dn"))
    manifest = {
        "name": "web",
        "source": "s",
        "tags": ["x"],
        "members": ["default/open", "default/closed@0.1.0"],
    }
    (dn.home / "task-set.yaml").write_text(yaml.safe_dump(manifest))
    assert "(2 members)" in dn("task-set", "push", "task-set.yaml").ok().out
    dn("task-set", "add", "web", "default/open@0.1.0").ok()
    (listed,) = dn("task-set", "list", "--contains", "default/closed", "--json").ok().json()
    assert (listed["name"], listed["member_count"], listed["tags"]) == ("web", 3, ["x"])
    detail = dn("task-set", "info", "web", "--json").ok().json()
    resolved = [
        (one["task_name"], one["task_version_pinned"], one["task_version_resolved"])
        for one in detail["members"]
    ]
    assert resolved == [
        ("default/open", None, "0.2.0"),
        ("default/closed", "0.1.0", "0.1.0"),
        ("default/open", "0.1.0", "0.1.0"),
    ]
    assert "default/closed@0.1.0 is not public" in dn("task-set", "publish", "web").ok().out
    dn("task-set", "delete", "web", "--yes").ok()
    mine.get(f"{SETS}/web").expect(404)


def test_set_of_another_organization_is_seen_when_public_and_never_changed(
    tenants: tuple[Server, Api, Api],
) -> None:
    _, mine, theirs = tenants
    body: dict[str, Any] = {"name": "mixed", "members": ["default/open", {"task_name": "default/closed", "notes": "n"}, "nobody/x", "default/open@9.9.9"]}  # fmt: skip
    made = mine.post(SETS, body).expect(201).json()
    assert [one["unresolvable_reason"] for one in made["members"]] == [
        None,
        None,
        "not_found",
        "version_not_found",
    ]
    assert (made["unresolvable_count"], made["members"][1]["notes"], made["warnings"]) == (2, "n", [])
    mine.post(SETS, body).expect(409)
    for method in ("GET", "PUT", "DELETE"):
        theirs.request(method, f"{SETS}/mixed", {"members": []}).expect(404)
    assert mine.patch(f"{SETS}/mixed/visibility", {"is_public": True}).expect(200).json()["warnings"]
    seen = theirs.get(f"{SETS}/mixed").expect(200).json()
    assert [one["unresolvable_reason"] for one in seen["members"]] == [
        None,
        "not_found",
        "not_found",
        "version_not_found",
    ]
    assert seen["warnings"] == []
    for method, path in (
        ("PUT", f"{SETS}/mixed"),
        ("DELETE", f"{SETS}/mixed"),
        ("PATCH", f"{SETS}/mixed/visibility"),
    ):
        theirs.request(method, path, {"members": [], "is_public": False}).expect(403)
    other = "/api/v1/org/other/task-sets"
    assert theirs.get(other).expect(200).json()["task_sets"] == []
    assert [one["org_key"] for one in theirs.get(f"{other}?include_public=true").json()["task_sets"]] == [
        "default"
    ]
    changed = (
        mine.put(f"{SETS}/mixed", {"members": ["default/open"], "source": "s", "tags": ["t"]})
        .expect(200)
        .json()
    )
    assert (changed["member_count"], changed["is_public"], changed["source"]) == (1, True, "s")
    assert mine.get(f"{SETS}/facets").expect(200).json() == {
        "source": [{"value": "s", "count": 1}],
        "tags": [{"value": "t", "count": 1}],
    }
    for query, count in (("contains=default/open", 1), ("contains=default/open@0.1.0", 0), ("tags=t", 1), ("search=MIX", 1), ("source=x", 0)):  # fmt: skip
        assert mine.get(f"{SETS}?{query}").expect(200).json()["total"] == count
    mine.delete(f"{SETS}/mixed").expect(200)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad"},
        {"members": ["bare"]},
        {"members": ["a/b@1"]},
        {"members": ["a/b", "a/b"]},
        {"members": [f"a/b{n}" for n in range(2001)]},
        {"members": None},
        {"tags": [""]},
    ],
)
def test_set_that_breaks_a_rule_is_refused(tenants: tuple[Server, Api, Api], change: dict[str, Any]) -> None:
    _, mine, _ = tenants
    mine.post(SETS, {"name": "rules", "members": [], **change}).expect(422)
