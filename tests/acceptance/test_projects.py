"""The project tree by the native API and the command line."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import environment_for, run_process
from tests.support.http import Api
from tests.support.server import Server

ROOT = "/runyard/v1"
PROJECTS = f"{ROOT}/projects"


@pytest.fixture
def slug(api: Api) -> Iterator[str]:
    """Return a slug for a project below the caller's that is gone after the test."""
    made = f"team-{uuid.uuid4().hex[:8]}"
    yield made
    api.delete(f"{PROJECTS}/{made}%2Fweb")
    api.delete(f"{PROJECTS}/{made}")


def paths(api: Api) -> list[str]:
    return [one["path"] for one in api.get(PROJECTS).expect(200).json()["items"]]


def test_tree_begins_at_the_callers_project(api: Api, slug: str) -> None:
    assert {"/", "default", "default/default"} <= set(paths(api))
    made = api.post(PROJECTS, {"slug": slug, "name": "The team"}).expect(201).json()
    assert (made["path"], made["name"], made["depth"]) == (slug, "The team", 1)
    below = api.post(PROJECTS, {"slug": "web", "parent": slug}).expect(201).json()
    assert (below["path"], below["parent_id"]) == (f"{slug}/web", made["id"])
    token = api.post(f"{ROOT}/tokens", {"name": "t", "project": f"{slug}/"}).expect(201).json()
    assert token["token"]["project"] == made["id"]
    narrow = api.clone(token["secret"])
    seen = narrow.get(PROJECTS).expect(200).json()["items"]
    assert [(one["path"], one["parent_id"]) for one in seen] == [("/", None), ("web", made["id"])]
    narrow.delete(f"{PROJECTS}/default").expect(404)
    narrow.post(PROJECTS, {"slug": "x", "parent": "default"}).expect(404)
    assert narrow.delete(f"{PROJECTS}/%2F").expect(409).json()["code"] == "still_in_use"
    api.delete(f"{ROOT}/tokens/{token['token']['id']}").expect(204)
    assert api.delete(f"{PROJECTS}/{slug}").expect(409).json()["code"] == "still_in_use"
    api.delete(f"{PROJECTS}/{below['id']}").expect(204)
    api.delete(f"{PROJECTS}/{slug}").expect(204)
    assert slug not in paths(api)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"slug": "default"}, 409, "slug_taken"),
        ({"slug": "Upper"}, 422, "invalid_argument"),
        ({"slug": ""}, 422, "invalid_argument"),
        ({"slug": "a/b"}, 422, "invalid_argument"),
        ({"slug": "x", "parent": "no/such"}, 404, "not_found"),
        ({"slug": "x", "name": "y" * 257}, 422, "invalid_argument"),
        ({"slug": "x", "name": "\0"}, 422, "invalid_argument"),
        ({"slug": "x", "surprise": 1}, 422, "invalid_argument"),
        ({}, 422, "invalid_argument"),
    ],
)
def test_project_that_cannot_be_made_is_refused(
    api: Api, body: dict[str, object], status: int, code: str
) -> None:
    answer = api.post(PROJECTS, body)
    assert (answer.status, answer.json()["code"]) == (status, code)


def test_project_with_a_runtime_or_secret_is_kept(api: Api, slug: str) -> None:
    api.post(PROJECTS, {"slug": slug}).expect(201)
    token = api.post(f"{ROOT}/tokens", {"name": "t", "project": slug}).expect(201).json()
    inside = api.clone(token["secret"])
    runtime = inside.post(f"{ROOT}/runtimes", {}).expect(201).json()["id"]
    inside.put(f"{ROOT}/secrets/key", {"value": "x"}).expect(200)
    api.delete(f"{ROOT}/tokens/{token['token']['id']}").expect(204)
    for path, what in ((f"runtimes/{runtime}", "runtime"), ("secrets/key", "secret")):
        refused = api.delete(f"{PROJECTS}/{slug}").expect(409).json()
        assert what in refused["detail"]
        api.delete(f"{ROOT}/{path}").expect(204)
    api.delete(f"{PROJECTS}/{slug}").expect(204)


def test_root_stays_and_only_admins_change_the_tree(api: Api) -> None:
    api.delete(f"{PROJECTS}/%2F").expect(422)
    made = api.post(f"{ROOT}/tokens", {"name": "r", "scopes": ["runtimes:read"]}).expect(201).json()
    reader = api.clone(made["secret"])
    reader.get(PROJECTS).expect(200)
    reader.post(PROJECTS, {"slug": "x"}).expect(403)
    reader.delete(f"{PROJECTS}/default").expect(403)


def test_command_line_manages_projects(server: Server, slug: str, tmp_path: Path) -> None:
    environment = environment_for(tmp_path, server.url, server.token)
    run_process(environment, "project", "create", slug).expect(0)
    made = run_process(environment, "project", "create", f"{slug}/web", "--json").expect(0).json()
    listed = run_process(environment, "project", "list", "--output", "name").expect(0).out
    assert made["id"] in listed.splitlines()
    token = run_process(environment, "token", "create", "t", "--project", f"{slug}/web", "--json")
    assert token.expect(0).json()["token"]["project"] == made["id"]
    run_process(environment, "project", "delete", f"{slug}/web", "--yes").expect(6)
    run_process(environment, "token", "revoke", token.json()["token"]["id"], "--yes").expect(0)
    run_process(environment, "project", "delete", f"{slug}/web", slug, "--yes").expect(0)


def test_members_get_other_roles_and_lose_them_at_once(
    api: Api, server: Server, slug: str, tmp_path: Path
) -> None:
    environment = environment_for(tmp_path, server.url, server.token)
    name = f"user-{slug}"
    api.post(PROJECTS, {"slug": slug}).expect(201)
    run_process(environment, "user", "create", name).expect(0)
    token = run_process(environment, "token", "create", "t", "--user", name, "--project", slug, "--json")
    theirs = api.clone(token.expect(0).json()["secret"])
    of = ("--project", slug)
    run_process(environment, "member", "set", name, "viewer", *of).expect(0)
    theirs.get(f"{ROOT}/runtimes").expect(200)
    theirs.post(PROJECTS, {"slug": "mine"}).expect(403)
    made = run_process(environment, "member", "set", name, "admin", *of, "--json").expect(0).json()
    assert (made["user"], made["role"]) == (name, "admin")
    theirs.post(PROJECTS, {"slug": "mine"}).expect(201)
    theirs.delete(f"{PROJECTS}/mine").expect(204)
    listed = run_process(environment, "member", "list", *of, "--output", "name").expect(0).out
    assert listed == f"{name}\n"
    assert "--yes" in run_process(environment, "member", "remove", name, *of).expect(2).err
    run_process(environment, "member", "remove", made["user_id"], *of, "--yes").expect(0)
    theirs.get(f"{ROOT}/runtimes").expect(403)
    gone = run_process(environment, "member", "remove", name, *of, "--yes").expect(3)
    assert "is no member of this project" in gone.err
    api.delete(f"{ROOT}/tokens/{token.json()['token']['id']}").expect(204)


def test_member_that_is_named_like_anothers_address_is_the_one_that_is_meant(api: Api, slug: str) -> None:
    """Else whoever may have a user named could get the role of somebody else, or somebody else theirs."""
    project = api.post(PROJECTS, {"slug": slug}).expect(201).json()["id"]
    address = f"{slug}@example.test"
    first = {"userId": f"a-{slug}", "role": "viewer", "email": address}
    api.post(f"/v2/runners/projects/{project}/members", [first]).expect(201)
    found = api.request("PUT", f"{PROJECTS}/{slug}/members/{address}", {"role": "viewer"})
    assert found.expect(200).json()["user"] == f"a-{slug}"
    api.post(f"{ROOT}/users", {"name": address}).expect(201)
    found = api.request("PUT", f"{PROJECTS}/{slug}/members/{address}", {"role": "operator"})
    assert found.expect(200).json()["user"] == address
    api.delete(f"{PROJECTS}/{slug}/members/{address}").expect(204)
    left = api.get(f"{PROJECTS}/{slug}/members").expect(200).json()["items"]
    assert [one["user"] for one in left] == [f"a-{slug}"]


def test_member_that_nobody_knows_or_may_set_is_refused(api: Api, server: Server, tmp_path: Path) -> None:
    environment = environment_for(tmp_path, server.url, server.token)
    refused = run_process(environment, "member", "set", "nobody-of-this-name", "viewer").expect(3)
    assert "there is no user 'nobody-of-this-name'" in refused.err
    run_process(environment, "member", "list", "--project", "no/such").expect(3)
    assert (
        "needs an administrator" in run_process(environment, "member", "set", "admin", "viewer").expect(6).err
    )
    narrow = api.post(f"{ROOT}/tokens", {"name": "t", "scopes": ["runtimes:read"]}).expect(201).json()
    with_less = environment | {"RUNYARD_TOKEN": narrow["secret"]}
    assert "lacks the permission admin" in run_process(with_less, "member", "list").expect(4).err
    api.delete(f"{ROOT}/tokens/{narrow['token']['id']}").expect(204)
