"""Wrong values in every place of the Dreadnode door: whatever comes, the answer has the envelope and is no fault of the
server."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.http import Answer, Api
from tests.support.server import Server

VALUES: list[Any] = [
    None, 5, -1, 2**70, 1.5, True, "", "x", "\ud800", "a\0b", "[/x]", "x" * 5000, [], [1], [None], ["x"], {}, {"a": 1},
    [[["x"]]], {"a": {"b": [1]}},
]  # fmt: skip
TEXTS = [
    "",
    "x",
    "-1",
    "9" * 18,
    "9" * 40,
    "null",
    "a,b",
    "..",
    "é",
    "%00",
    "%ff",
    "%",
    "1.5",
    "true",
    "x" * 3000,
]
E = "/api/v1/org/default"
BODIES = {
    ("POST", f"{E}/ws/default/projects"): "key name",
    ("POST", "/api/v1/user/api-keys"): "name org_id workspace_id allowed_scopes allow_self_revoke",
    ("POST", "/api/v1/user/secrets"): "name value",
    ("POST", "/api/v1/user/secrets/preset"): "provider value",
    ("PUT", "/api/v1/user/secrets/none"): "value",
    ("POST", "/api/v1/auth/device/token"): "device_code",
    ("POST", "/login/device"): "user_code",
    ("PATCH", f"{E}/tasks/none/visibility"): "is_public",
    ("POST", f"{E}/task-sets"): "name description source tags is_public members",
    ("PUT", f"{E}/task-sets/none"): "description source tags members",
    ("PUT", "/api/v1/default/none/manifests/0.1.0"): "schemaVersion mediaType config layers annotations",
}
"""The members of each body."""
GOOD: dict[str, dict[str, Any]] = {
    f"{E}/task-sets": {"name": "hostile", "members": ["default/none"]},
    "/api/v1/user/secrets": {"name": "hostile", "value": "v"},
    "/api/v1/user/secrets/preset": {"provider": "tinker", "value": "v"},
    "/api/v1/user/api-keys": {"allowed_scopes": ["tasks:read"], "name": "hostile"},
}
QUERIES = {
    f"{E}/tasks": "page limit difficulty tags author source search sort_by sort_dir include_public",
    f"{E}/tasks/facets": "include_public",
    f"{E}/task-sets": "page limit tags source search contains sort_by sort_dir include_public",
    f"{E}/task-sets/facets": "tags source search include_public",
    f"{E}/tasks/none/instruction": "sandbox_id",
    f"{E}/sandboxes": "limit cursor state project_id",
    "/login/device": "code",
}
PATHS = [
    "/api/v1/org/{}", f"{E}/ws/{{}}", f"{E}/ws/default/projects/{{}}", f"{E}/tasks/{{}}", f"{E}/tasks/none/{{}}",
    "/api/v1/{}/blobs/sha256:x", "/api/v1/default/blobs/{}", "/api/v1/default/{}/manifests/latest",
    "/api/v1/default/none/manifests/{}", "/api/v1/{}/none/tags/list", "/api/v1/user/secrets/{}", f"{E}/sandboxes/{{}}",
    "/api/v1/auth/device/code/{}", f"{E}/task-sets/{{}}",
]  # fmt: skip
FAULTS = {500, 502, 504}


def checked(answer: Answer) -> None:
    """Assert that an answer is no fault, and that a refusal has the envelope or is the page."""
    assert answer.status not in FAULTS, answer.body[:300]
    if answer.status < 400 or answer.headers["content-type"].startswith("text/html"):
        return
    payload = answer.json()
    assert payload["code"] == answer.status
    assert payload["detail"]
    assert not {"[", "]"} & set(payload["detail"])
    assert payload["type"]


@pytest.fixture(scope="module", autouse=True)
def tidy(server: Server) -> Iterator[None]:
    """Take away what was accepted after all: others use this server too."""
    yield
    with server.api() as api:
        for project in api.get(f"{E}/ws/default/projects").expect(200).json():
            if project["key"] == "x":
                api.delete(f"/runyard/v1/projects/{project['id']}").expect(204)
        for one in api.get(f"{E}/task-sets?limit=100").expect(200).json()["task_sets"]:
            api.delete(f"{E}/task-sets/{one['name']}").expect(200)
        for one in api.get("/api/v1/user/secrets").expect(200).json()["secrets"]:
            api.delete(f"/api/v1/user/secrets/{one['id']}").expect(204)
        for one in api.get("/api/v1/user/api-keys").expect(200).json():
            api.delete(f"/api/v1/user/api-keys/{one['id']}").expect(204)


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_any_value_in_a_body_is_taken_or_refused(api: Api, method: str, path: str) -> None:
    for name in BODIES[method, path].split():
        for value in VALUES:
            checked(api.request(method, path, {**GOOD.get(path, {}), name: value}))
    for raw in (
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b"[" * 10_000,
        json.dumps({"x" * 9000: 1}).encode(),
    ):
        checked(api.request(method, path, raw, {"Content-Type": "application/json"}))


def test_any_value_in_a_query_is_taken_or_refused(api: Api) -> None:
    for path, names in QUERIES.items():
        for name in names.split():
            for text in TEXTS:
                checked(api.get(f"{path}?{name}={quote(text, safe='%')}"))
        checked(api.get(f"{path}?" + "&".join(f"a{n}=1" for n in range(300))))


def test_any_value_in_a_path_is_found_or_refused(api: Api) -> None:
    for path in PATHS:
        for text in TEXTS:
            for method in ("GET", "DELETE"):
                checked(api.request(method, path.format(quote(text, safe="%"))))
