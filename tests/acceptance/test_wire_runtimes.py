"""Runtimes on the wire: statuses, objects, revisions, idempotency, paging, life cycle, idle policy. No SDK involved."""

import itertools
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.server import Server

V2_FIELDS = {
    "id",
    "display_name",
    "status",
    "desired_status",
    "degraded",
    "created_at",
    "updated_at",
    "image_id",
    "revision",
    "resources",
    "egress_policy",
    "idle_policy",
    "ingress_specs",
    "ssh_enabled",
    "vnc_enabled",
    "vnc_ready",
    "vnc_connection",
    "owner_user_id",
    "can_manage",
    "llm_tool_io_capture_enabled",
    "llm_session_content_capture_enabled",
    "llm_token_saving_policy",
    "secret_configuration",
}
V1_FIELDS = {
    "id",
    "display_name",
    "status",
    "resources",
    "ingress_specs",
    "egress_policy",
    "created_at",
    "updated_at",
    "idle_policy",
    "llm_tool_io_capture_enabled",
    "llm_token_saving_policy",
    "environment_variables",
    "ssh_enabled",
}


def wait_status(api: Api, runtime: str, status: str, seconds: float = 15) -> dict[str, Any]:
    """Poll until a runtime has a status and return it."""
    deadline = time.monotonic() + seconds
    while True:
        document: dict[str, Any] = api.get(f"/v1/runtimes/{runtime}").expect(200).data
        if document["status"] == status:
            return document
        assert time.monotonic() < deadline, f"{document['status']} instead of {status}"
        time.sleep(0.05)


def revision(api: Api, runtime: str) -> int:
    """Return the revision of a runtime now."""
    value: int = api.get(f"/v2/runtimes/{runtime}").expect(200).data["revision"]
    return value


def test_v1_create_answers_200_with_the_union_of_fields(api: Api) -> None:
    answer = api.post("/v1/runtimes", {"name": "union"}).expect(200)
    data = answer.data
    assert data.keys() >= V1_FIELDS
    assert uuid.UUID(data["id"]).version == 7
    assert data["display_name"] == "union"
    assert set(data["egress_policy"]) == {"enabled", "mode", "allowed_hosts", "denied_hosts"}
    assert set(data["resources"]["requests"]) >= {"vcpus", "memory_mib"}
    assert data["resources"]["limits"]["memory_mib"] == 1024
    assert data["status"] in ("creating", "running")
    assert api.delete(f"/v1/runtimes/{data['id']}").expect(200).json() == {"data": {}}
    api.get(f"/v1/runtimes/{data['id']}").expect(404)
    api.delete(f"/v1/runtimes/{data['id']}").expect(404)


def test_v2_create_answers_201_with_location_and_every_field(api: Api) -> None:
    answer = api.post("/v2/runtimes", {"name": "second"}).expect(201)
    data = answer.data
    assert data.keys() >= V2_FIELDS
    assert answer.headers["location"].endswith(f"/v2/runtimes/{data['id']}")
    assert data["revision"] >= 1
    assert data["egress_policy"] == {"mode": "denylist", "denied_hosts": []}
    assert data["idle_policy"] == {"mode": "disabled"}
    assert set(data["resources"]) == {"current", "limits", "requests"}
    wait_status(api, data["id"], "running")
    gone = api.delete(f"/v2/runtimes/{data['id']}?expected_revision={data['revision']}")
    assert gone.status in (202, 204)
    if gone.status == 202:
        assert gone.data["id"] == data["id"]
    api.get(f"/v2/runtimes/{data['id']}").expect(404)


def test_create_without_a_name_makes_one(api: Api, make_runtime: Callable[..., str]) -> None:
    names = {api.get(f"/v1/runtimes/{make_runtime()}").data["display_name"] for _ in range(2)}
    assert len(names) == 2
    assert all(names)


def test_v1_list_carries_both_pagings_at_once(api: Api, shared: str) -> None:
    document = api.get("/v1/runtimes?limit=100").expect(200).json()
    assert set(document["pagination"]) == {
        "limit",
        "offset",
        "total",
        "next_offset",
        "next_cursor",
        "has_more",
    }
    assert shared in [one["id"] for one in document["data"]]


def test_lists_page_through_everything_once(api: Api, make_runtime: Callable[..., str]) -> None:
    made = {make_runtime(name="paged") for _ in range(3)}
    for version in ("v1", "v2"):
        seen: list[str] = []
        after = ""
        while True:
            document = api.get(f"/{version}/runtimes?limit=1{after}").expect(200).json()
            seen += [one["id"] for one in document["data"]]
            if not document["pagination"]["has_more"]:
                assert document["pagination"]["next_cursor"] is None
                break
            after = f"&after={document['pagination']['next_cursor']}"
        assert len(seen) == len(set(seen))
        assert made <= set(seen)
    offset = api.get("/v1/runtimes?limit=2&offset=1").expect(200).json()
    assert len(offset["data"]) == 2
    assert offset["pagination"]["offset"] == 1


@pytest.mark.parametrize(
    ("version", "status", "expected"),
    [
        ("v1", "running", True),
        ("v1", "active", True),
        ("v1", "stopped,paused", False),
        ("v1", "shutdown", False),
        ("v2", "running,suspended", True),
        ("v2", "shutdown", False),
    ],
)
def test_list_filters_by_status(api: Api, shared: str, version: str, status: str, expected: bool) -> None:
    document = api.get(f"/{version}/runtimes?limit=100&status={status}").expect(200).json()
    assert (shared in [one["id"] for one in document["data"]]) is expected


def test_idempotency_key_gives_the_same_runtime_and_another_body_conflicts(api: Api) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = api.request("POST", "/v2/runtimes", {"name": "once"}, headers).expect(201).data
    again = api.request("POST", "/v2/runtimes", {"name": "once"}, headers).expect(201).data
    assert again["id"] == first["id"]
    other = api.request("POST", "/v2/runtimes", {"name": "twice"}, headers)
    assert other.status in (409, 422)
    too_long = api.request("POST", "/v2/runtimes", {"name": "long"}, {"Idempotency-Key": "x" * 256})
    assert too_long.status == 422
    api.delete(f"/v1/runtimes/{first['id']}").expect(200)


def test_idempotency_key_of_parallel_creates_makes_one_runtime(server: Server, api: Api) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}

    def create(_: int) -> tuple[int, Any]:
        with server.api() as client:
            answer = client.request("POST", "/v2/runtimes", {"name": "race"}, headers)
            return answer.status, answer.json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    ids = {document["data"]["id"] for status, document in answers if status == 201}
    assert len(ids) == 1, answers
    api.delete(f"/v1/runtimes/{ids.pop()}").expect(200)


@pytest.mark.parametrize("verb", ["start", "stop", "pause", "resume"])
def test_stale_revision_conflicts_with_the_exact_phrase(api: Api, runtime: str, verb: str) -> None:
    answer = api.post(f"/v2/runtimes/{runtime}/{verb}?expected_revision=99")
    assert (answer.status, answer.error[0]) == (409, "failed_precondition")
    assert "runtime revision conflict:" in answer.error[1]


def test_missing_or_bad_revision_is_refused(api: Api, runtime: str) -> None:
    for query in ("", "?expected_revision=0", "?expected_revision=x", "?expected_revision=-1"):
        assert api.post(f"/v2/runtimes/{runtime}/pause{query}").status == 422, query
    assert api.patch(f"/v2/runtimes/{runtime}", {"display_name": "x"}).status == 422
    assert api.delete(f"/v2/runtimes/{runtime}").status == 422


def test_stale_revision_refuses_patch_and_delete(api: Api, runtime: str) -> None:
    for answer in (
        api.patch(f"/v2/runtimes/{runtime}?expected_revision=99", {"display_name": "x"}),
        api.delete(f"/v2/runtimes/{runtime}?expected_revision=99"),
    ):
        assert answer.status == 409
        assert "runtime revision conflict:" in answer.error[1]


def test_revision_rises_by_mutations_only(api: Api, runtime: str) -> None:
    before = revision(api, runtime)
    api.sh(runtime, "true")
    assert revision(api, runtime) == before
    patched = api.patch(
        f"/v2/runtimes/{runtime}?expected_revision={before}", {"display_name": "renamed"}
    ).expect(200)
    assert patched.data["revision"] == before + 1
    assert patched.data["display_name"] == "renamed"
    paused = api.post(f"/v2/runtimes/{runtime}/pause?expected_revision={before + 1}").expect(200)
    assert paused.data["revision"] == before + 2


def test_life_cycle_statuses_and_repeats(api: Api, runtime: str) -> None:
    def verb(name: str) -> str:
        status: str = api.post(f"/v1/runtimes/{runtime}/{name}").expect(200).data["status"]
        return status

    assert verb("start") == "running"
    assert verb("pause") == "paused"
    assert verb("pause") == "paused"
    conflict = api.post(f"/v1/runtimes/{runtime}/exec", {"command": "true"})
    assert (conflict.status, conflict.error[0]) == (409, "failed_precondition")
    assert f"runtime '{runtime}' is not running (status: paused)" in conflict.error[1]
    assert verb("resume") in ("running", "paused")
    wait_status(api, runtime, "running")
    assert verb("stop") == "shutdown"
    assert verb("stop") == "shutdown"
    assert api.post(f"/v1/runtimes/{runtime}/resume").status == 409
    assert api.post(f"/v1/runtimes/{runtime}/pause").status == 409
    assert "(status: shutdown)" in api.post(f"/v1/runtimes/{runtime}/exec", {"command": "true"}).error[1]
    assert verb("start") in ("running", "creating")
    wait_status(api, runtime, "running")


def test_paused_processes_stand_still(api: Api, runtime: str) -> None:
    api.sh(runtime, "(while :; do date +%s%N >> /root/ticks; sleep 0.05; done) >/dev/null 2>&1 &")
    time.sleep(0.5)
    api.post(f"/v1/runtimes/{runtime}/pause").expect(200)
    time.sleep(1.5)  # the pause must be longer than any gap that a busy machine makes
    api.post(f"/v1/runtimes/{runtime}/resume").expect(200)
    time.sleep(0.5)
    ticks = [int(line) for line in api.sh(runtime, "cat /root/ticks").split()]
    assert max(b - a for a, b in itertools.pairwise(ticks)) > 1_000_000_000


def test_stop_ends_processes_and_keeps_files(api: Api, runtime: str) -> None:
    api.sh(runtime, "setsid sleep 999 >/dev/null 2>&1 & echo kept > /root/kept; echo tmp > /tmp/kept")
    api.post(f"/v1/runtimes/{runtime}/stop").expect(200)
    api.post(f"/v1/runtimes/{runtime}/start").expect(200)
    wait_status(api, runtime, "running")
    assert api.sh(runtime, "cat /root/kept; pgrep -x sleep | wc -l").split() == ["kept", "0"]


def test_memory_resize_takes_effect(api: Api, make_runtime: Callable[..., str]) -> None:
    runtime = make_runtime(
        resources={"requests": {"vcpus": 1, "memory_mib": 512}, "limits": {"memory_mib": 512}}
    )
    eat = "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c"
    assert api.exec(runtime, eat)["stdout"].strip() == "200000000"
    body = {"resources": {"requests": {"memory_mib": 128}, "limits": {"memory_mib": 128}}}
    patched = api.patch(f"/v1/runtimes/{runtime}", body).expect(200).data
    assert patched["resources"]["limits"]["memory_mib"] == 128
    assert api.exec(runtime, eat)["stdout"].strip() != "200000000"
    assert api.sh(runtime, "echo alive") == "alive\n"


def test_environment_variables_reach_every_exec(api: Api) -> None:
    fields = {"environment_variables": {"FROM_CREATE": "x y"}}
    runtime = api.post("/v2/runtimes", fields).expect(201).data["id"]
    wait_status(api, runtime, "running")
    assert api.sh(runtime, "echo $FROM_CREATE") == "x y\n"
    assert api.sh(runtime, "echo $FROM_CREATE", env={"FROM_CREATE": "nearer"}) == "nearer\n"
    api.delete(f"/v1/runtimes/{runtime}").expect(200)


@pytest.mark.parametrize("mode", ["suspend_only", "suspend_and_wakeup"])
def test_idle_policy_suspends_and_traffic_wakes_when_told_so(api: Api, mode: str) -> None:
    fields = {"idle_policy": {"mode": mode, "suspend_after_secs": 1}}
    runtime = api.post("/v2/runtimes", fields).expect(201).data["id"]
    wait_status(api, runtime, "suspended", 30)
    answer = api.post(f"/v1/runtimes/{runtime}/exec", {"command": "echo awake"})
    if mode == "suspend_only":
        assert (answer.status, answer.error[0]) == (409, "failed_precondition")
        assert "(status: suspended)" in answer.error[1]
        api.post(f"/v1/runtimes/{runtime}/resume").expect(200)
        wait_status(api, runtime, "running")
    else:
        assert answer.expect(200).data["stdout"] == "awake\n"
    api.delete(f"/v1/runtimes/{runtime}").expect(200)


@pytest.mark.parametrize(
    ("version", "policy", "status"),
    [
        ("v1", {"enabled": False, "allowed_hosts": []}, 200),
        ("v1", {"enabled": True, "allowed_hosts": []}, 200),
        ("v1", {"enabled": True, "allowed_hosts": ["example.com"]}, 501),
        ("v2", {"mode": "denylist", "denied_hosts": []}, 201),
        ("v2", {"mode": "allowlist", "allowed_hosts": []}, 201),
        ("v2", {"mode": "allowlist", "allowed_hosts": ["example.com"]}, 501),
        ("v2", {"mode": "denylist", "denied_hosts": ["example.com"]}, 501),
        ("v2", {"mode": "surprise"}, 422),
    ],
)
def test_egress_policy_is_open_or_none_and_hosts_are_unimplemented(
    api: Api, version: str, policy: dict[str, Any], status: int
) -> None:
    answer = api.post(f"/{version}/runtimes", {"egress_policy": policy})
    assert answer.status == status, answer.body
    if status == 501:
        assert answer.error[0] == "unimplemented"
    elif status < 300:
        api.delete(f"/v1/runtimes/{answer.data['id']}").expect(200)


def test_egress_none_has_loopback_only_and_open_has_a_route(
    api: Api, make_runtime: Callable[..., str]
) -> None:
    closed = make_runtime(egress_policy={"enabled": True, "allowed_hosts": []})
    opened = make_runtime(egress_policy={"enabled": False, "allowed_hosts": []})
    routes = "tail -n +2 /proc/net/route | wc -l; ls /sys/class/net 2>/dev/null || true; cat /proc/net/dev"
    assert api.sh(closed, routes).split()[0] == "0"
    assert "lo:" in api.sh(closed, "cat /proc/net/dev")
    assert int(api.sh(opened, routes).split()[0]) >= 1


def test_checkpoint_objects_and_restore_on_v2(api: Api) -> None:
    runtime = api.post("/v2/runtimes", {"name": "cp-source"}).expect(201).data["id"]
    wait_status(api, runtime, "running")
    api.write_file(runtime, "/root/mark", b"one").expect(204)
    taken = api.post(f"/v2/runtimes/{runtime}/checkpoints", {"kind": "full", "name": "cp"}).expect(200).data
    assert {"id", "display_name", "created_at", "state", "resources"} <= set(taken)
    deadline = time.monotonic() + 20
    while (state := api.get(f"/v2/checkpoints/{taken['id']}").expect(200).data["state"]) != "ready":
        assert state == "creating"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    api.delete(f"/v1/runtimes/{runtime}").expect(200)
    restored = api.post("/v2/runtimes", {"checkpoint_id": taken["id"]}).expect(201).data
    assert restored["display_name"] == "cp-source"
    wait_status(api, restored["id"], "running")
    assert api.read_file(restored["id"], "/root/mark").expect(200).body == b"one"
    listed = api.get("/v2/checkpoints?limit=100").expect(200).json()
    assert taken["id"] in [one["id"] for one in listed["data"]]
    assert api.delete(f"/v2/checkpoints/{taken['id']}").expect(200).json() == {"data": {}}
    api.get(f"/v2/checkpoints/{taken['id']}").expect(404)
    assert api.read_file(restored["id"], "/root/mark").expect(200).body == b"one"
    api.delete(f"/v1/runtimes/{restored['id']}").expect(200)


def test_secret_reaches_the_runtime_but_no_answer_and_no_ledger(api: Api) -> None:
    value = "S3cr3t-" + uuid.uuid4().hex
    secret = api.put("/v2/secrets/wired", {"value": value, "cache_ttl_secs": 0}).expect(200)
    assert value.encode() not in secret.body
    configuration = [
        {
            "secret_id": secret.data["id"],
            "environment": [{"name": "API_KEY", "value_template": "k=${secret}"}],
            "files": [{"path": ".config/key", "value_template": "${secret}\n"}],
        }
    ]
    made = api.post("/v2/runtimes", {"secret_configuration": configuration}).expect(201)
    runtime = made.data["id"]
    wait_status(api, runtime, "running")
    assert value.encode() not in made.body + api.get(f"/v2/runtimes/{runtime}").body
    data = api.exec(runtime, "echo $API_KEY; cat ~/.config/key", env={"SEEN": value})
    assert data["stdout"] == f"k={value}\n{value}\n", "the caller gets its own output as it is"
    api.delete(f"/v1/runtimes/{runtime}").expect(200)
    listed = api.get("/runyard/v1/executions?limit=50")
    assert value.encode() not in listed.expect(200).body
    api.delete("/v2/secrets/wired").expect(200)


@pytest.mark.parametrize("template", ["none", "${secret}${secret}", "$secret"])
def test_secret_template_needs_the_placeholder_once(api: Api, template: str) -> None:
    secret = api.put("/v2/secrets/templated", {"value": "x", "cache_ttl_secs": 0}).expect(200).data["id"]
    configuration = [{"secret_id": secret, "environment": [{"name": "A", "value_template": template}]}]
    assert api.post("/v2/runtimes", {"secret_configuration": configuration}).status == 422
    api.delete("/v2/secrets/templated").expect(200)


def test_reserved_secret_name_is_forbidden(api: Api) -> None:
    answer = api.put("/v2/secrets/runta-own", {"value": "x", "cache_ttl_secs": 0})
    assert (answer.status, answer.error[0]) == (403, "permission_denied")
