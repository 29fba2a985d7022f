"""The Dreadnode door on the wire: who the caller is and where, keys, devices, secrets, and paths shared with another door."""

import base64
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.http import Answer, Api

E = "/api/v1/org/default"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def refused(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    """Assert the whole envelope of an error and return it."""
    payload: dict[str, Any] = answer.expect(status).json()
    assert payload["code"] == status
    assert payload["type"] == kind
    assert payload["detail"]
    assert ("errors" in payload) == (status == 422)
    assert set(payload) <= {"code", "detail", "type", "errors"}
    assert answer.headers["x-request-id"]
    return payload


def test_identity_has_what_the_client_requires(api: Api) -> None:
    user = api.get("/api/v1/user").expect(200).json()
    assert user["id"]
    assert (user["username"], "@" in user["email_address"]) == ("admin", True)
    (org,) = api.get("/api/v1/user/organizations").expect(200).json()
    assert org == api.get(E).expect(200).json()
    assert org["key"] == "default"
    limits = {name: value for name, value in org.items() if name.endswith("_seconds")}
    assert limits == {
        "effective_max_sandbox_runtime_seconds": 28800,
        "effective_default_sandbox_runtime_seconds": 3600,
        "platform_max_sandbox_runtime_seconds": 28800,
        "platform_default_sandbox_runtime_seconds": 3600,
    }
    (ws,) = [one for one in api.get(f"{E}/ws").expect(200).json() if one["key"] == "default"]
    assert ws["is_default"]
    assert ws["org_id"] == org["id"]
    assert ws == api.get(f"{E}/ws/default").expect(200).json() == api.get(f"{E}/ws/{ws['id']}").json()
    (project,) = [
        one for one in api.get(f"{E}/ws/default/projects").expect(200).json() if one["key"] == "default"
    ]
    assert project["is_default"]
    assert project == api.get(f"{E}/ws/default/projects/default").expect(200).json()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "{token}"},
        {"Authorization": "Bearer {token}"},
        {"Authorization": "Basic {basic}"},
        {"Authorization": "Bearer {token}", "X-API-Key": "dn_key_stale"},
    ],
)
def test_credential_in_each_place_is_taken(api: Api, headers: dict[str, str]) -> None:
    assert api.token is not None
    basic = base64.b64encode(f"__token__:{api.token}".encode()).decode()
    sent = {name: value.format(token=api.token, basic=basic) for name, value in headers.items()}
    api.anonymous().request("GET", "/api/v1/user", headers=sent).expect(200)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "dn_key_wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !!"},
        {"Authorization": "Basic " + base64.b64encode(b"admin:x").decode()},
        {"Authorization": "Digest x"},
        {"X-API-Key": "\xff\xfe"},
    ],
)
def test_credential_that_is_wrong_is_refused_in_the_envelope(api: Api, headers: dict[str, str]) -> None:
    answer = api.anonymous().request("GET", "/api/v1/user", headers=headers)
    refused(answer, 401, "authentication_error")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/api/v1/org/other", 404, "not_found_error"),
        ("GET", f"{E}/ws/none", 404, "not_found_error"),
        ("GET", f"{E}/ws/default/projects/none", 404, "not_found_error"),
        ("GET", "/api/v1/nothing/here", 404, "not_found_error"),
        ("DELETE", "/api/v1/user", 404, "not_found_error"),
        ("GET", f"{E}/tasks/none", 404, "not_found_error"),
        ("GET", f"{E}/tasks?limit=101", 422, "validation_error"),
        ("GET", f"{E}/tasks?sort_by=words", 422, "validation_error"),
        ("GET", f"{E}/tasks?page=0", 422, "validation_error"),
        ("GET", f"{E}/tasks?search=%00", 422, "validation_error"),
        ("GET", f"{E}/tasks/x%00y", 422, "validation_error"),
        ("GET", f"{E}/task-sets/none", 404, "not_found_error"),
        ("POST", "/api/v1/user/api-keys", 422, "validation_error"),
        ("POST", "/api/v1/user/secrets", 422, "validation_error"),
    ],
)
def test_refusal_has_the_published_envelope(api: Api, method: str, path: str, status: int, kind: str) -> None:
    refused(api.request(method, path, {"name": 5}), status, kind)


def test_validation_names_the_place_and_has_no_brackets(api: Api) -> None:
    payload = refused(
        api.post("/api/v1/user/secrets", {"name": "[/x]", "value": "v"}), 422, "validation_error"
    )
    assert payload["errors"] == [
        {"loc": ["body", "name"], "msg": payload["detail"], "type": "invalid_argument"}
    ]
    assert "[" not in refused(api.get(f"{E}/tasks/[x]"), 404, "not_found_error")["detail"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"a": ' + b"[" * 50_000, b'"x"'])
def test_broken_json_is_a_validation_error(api: Api, body: bytes) -> None:
    refused(api.request("POST", "/api/v1/user/secrets", body), 422, "validation_error")


# --- paths that two doors have ---


def test_shared_path_goes_by_the_credential(api: Api) -> None:
    anonymous = api.anonymous()
    assert api.token is not None
    for path in ("/api/v1/user", "/api/user"):
        assert "email_address" in api.get(path).expect(200).json()
        st2 = anonymous.request("GET", path, headers={"X-Auth-Token": api.token}).expect(200).json()
        assert st2["authentication"]["location"] == "header"
        assert anonymous.get(f"{path}?x-auth-token={api.token}").expect(200).json()["username"] == "admin"
        cookie = anonymous.request("GET", path, headers={"Cookie": f"auth-token={api.token}"}).expect(200)
        assert cookie.json()["authentication"]["location"] == "cookie"
        both = {"Cookie": "auth-token=x", "X-API-Key": api.token}
        assert "email_address" in anonymous.request("GET", path, headers=both).expect(200).json()
    assert (
        "faultstring"
        in anonymous.request("GET", "/api/v1/none", headers={"St2-Api-Key": "x"}).expect(404).json()
    )
    assert "detail" in anonymous.get("/api/v1/none").expect(404).json()
    assert "faultstring" in anonymous.get("/api/v1/executions").expect(401).json()
    preflight = {"Origin": "http://x", "Access-Control-Request-Headers": "x-auth-token"}
    anonymous.request("OPTIONS", "/api/v1/user", headers=preflight).expect(200)


def test_base_that_ends_in_api_is_the_same(api: Api) -> None:
    assert api.get("/api/health").expect(200).json() == {"status": "ok"}
    assert api.get("/api/org/default").expect(200).json() == api.get(E).json()


# --- keys ---


def test_key_is_narrowed_to_scopes_and_workspace(api: Api) -> None:
    side = api.post("/runyard/v1/projects", {"parent": "/", "slug": "dn-side"}).expect(201).json()
    body = {"name": "narrow", "workspace_id": side["id"], "allowed_scopes": ["tasks:read"]}
    made = api.post("/api/v1/user/api-keys", body).expect(201).json()
    assert made["key"].startswith("dn_key_")
    narrow = api.clone(made["key"])
    assert [one["key"] for one in narrow.get(f"{E}/ws").expect(200).json()] == ["dn-side"]
    narrow.get(f"{E}/ws/default").expect(404)
    narrow.get(f"{E}/tasks").expect(200)
    refused(narrow.get("/api/v1/user/secrets"), 403, "forbidden_error")
    refused(narrow.post("/api/v1/user/api-keys", {"name": "more"}), 403, "forbidden_error")
    refused(narrow.delete("/api/v1/user/api-keys/self"), 403, "forbidden_error")
    listed = api.get("/api/v1/user/api-keys").expect(200)
    assert made["key"].encode() not in listed.body
    api.delete(f"/api/v1/user/api-keys/{made['id']}").expect(204)
    narrow.get("/api/v1/user").expect(401)
    api.delete(f"/runyard/v1/projects/{side['id']}").expect(204)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"org_id": "other"}, 404),
        ({"workspace_id": "other"}, 404),
        ({"allowed_scopes": ["everything"]}, 422),
        ({"allowed_scopes": []}, 422),
        ({"allowed_scopes": [{}]}, 422),
        ({"name": ""}, 422),
        ({"allow_self_revoke": "yes"}, 422),
    ],
)
def test_key_that_cannot_be_is_refused(api: Api, body: dict[str, Any], status: int) -> None:
    api.post("/api/v1/user/api-keys", body).expect(status)


def test_first_token_cannot_revoke_itself(api: Api) -> None:
    refused(api.delete("/api/v1/user/api-keys/self"), 403, "forbidden_error")
    api.get("/api/v1/user").expect(200)


# --- devices ---


def test_device_gets_its_token_once_and_only_after_the_approval(api: Api) -> None:
    anonymous = api.anonymous()
    codes = anonymous.post("/api/v1/auth/device/code").expect(200).json()
    poll = f"/api/v1/auth/device/code/{codes['device_code']}"
    assert "user_id" not in anonymous.get(poll).expect(200).json()
    exchange = {"device_code": codes["device_code"]}
    refused(anonymous.post("/api/v1/auth/device/token", exchange), 409, "conflict_error")
    for token, status in (("wrong", 401), (api.token, 404)):
        form = urlencode({"code": "BCDF-GHJK", "token": token}).encode()
        page = anonymous.request("POST", "/login/device", form, FORM).expect(status)
        assert page.headers["content-type"].startswith("text/html")
    api.post("/login/device", {"user_code": codes["user_code"]}).expect(200)
    refused(api.post("/login/device", {"user_code": codes["user_code"]}), 404, "not_found_error")
    assert anonymous.get(poll).expect(200).json()["user_id"]
    access = anonymous.post("/api/v1/auth/device/token", exchange).expect(200).json()["access_token"]
    anonymous.post("/api/v1/auth/device/token", exchange).expect(404)
    anonymous.get(poll).expect(404)
    api.clone(access).get("/api/v1/user").expect(200)
    anonymous.get("/api/v1/auth/device/code/none").expect(404)


def test_device_page_shows_its_code_as_text(api: Api) -> None:
    page = api.anonymous().get("/login/device?code=%3Cscript%3E%22").expect(200)
    assert b"<script" not in page.body
    assert b"&lt;script&gt;&quot;" in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("body", [b"\xff", b"code=%ff&token=%ff", b"code=" + b"x" * 20_000, b"&" * 200])
def test_device_page_takes_no_nonsense(api: Api, body: bytes) -> None:
    assert api.anonymous().request("POST", "/login/device", body, FORM).status in (400, 401, 404, 422)


# --- secrets ---


def test_secrets_are_kept_masked_and_by_name(api: Api) -> None:
    base = "/api/v1/user/secrets"
    made = api.post(base, {"name": "my_key", "value": "s3cret-with-some-length"}).expect(201).json()
    assert (made["name"], made["masked_value"]) == ("MY_KEY", "****ngth")
    refused(api.post(base, {"name": "MY_KEY", "value": "x"}), 409, "already_exists_error")
    one = f"{base}/{made['id']}"
    changed = api.put(one, {"value": "short"}).expect(200).json()
    assert (changed["masked_value"], changed["id"]) == ("****", made["id"])
    assert api.get(one).expect(200).json() == changed
    listed = api.get(base).expect(200).json()
    assert changed in listed["secrets"]
    assert listed["total"] == len(listed["secrets"])
    api.delete(one).expect(204)
    refused(api.get(one), 404, "not_found_error")


def test_presets_know_their_variables(api: Api) -> None:
    made = api.post("/api/v1/user/secrets/preset", {"provider": "github", "value": "one"}).expect(201).json()
    again = api.post("/api/v1/user/secrets/preset", {"provider": "github", "value": "two"}).expect(201).json()
    assert (made["name"], again["id"]) == ("GITHUB_TOKEN", made["id"])
    presets = api.get("/api/v1/user/secrets/presets").expect(200).json()["presets"]
    assert {one["provider"]: one["configured"] for one in presets}["github"]
    api.post("/api/v1/user/secrets/preset", {"provider": "none", "value": "x"}).expect(422)
    api.delete(f"/api/v1/user/secrets/{made['id']}").expect(204)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "1X", "value": "v"},
        {"name": "A-B", "value": "v"},
        {"name": "A", "value": ""},
        {"name": "A", "value": "a\0b"},
        {"name": "A", "value": "\ud800"},
        {"name": "A", "value": 5},
        {"name": "A", "value": "x" * 65_537},
        {"name": None, "value": "v"},
    ],
)
def test_secret_that_no_variable_can_hold_is_refused(api: Api, body: dict[str, Any]) -> None:
    refused(api.post("/api/v1/user/secrets", body), 422, "validation_error")
