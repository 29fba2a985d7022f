"""The ledger of sandboxes beside the environments, by the vendor's command and on the wire."""

import time
from typing import Any

import pytest

from tests.support.dn import Dn
from tests.support.http import Api
from tests.support.packages import push, task
from tests.support.server import Server

E = "/api/v1/org/default"


@pytest.fixture(scope="module")
def sandbox(server: Server) -> str:
    """Return the id of a ready environment of a task with placeholders in its instruction."""
    with server.api() as api:
        layer = task(name="ledger", instruction="Go to {{ target }} as {{who}}, not {{nobody}}.")
        push(api, layer, name="ledger").expect(201)
        body = {"task_ref": "ledger", "inputs": {"target": "https://x", "who": True}}
        made: dict[str, Any] = api.post(f"{E}/ws/default/environments", body).expect(201).json()
        deadline = time.monotonic() + 60
        while api.get(f"{E}/ws/default/environments/{made['id']}/status").json()["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return str(made["id"])


def test_sandbox_is_the_environment_seen_from_the_organization(api: Api, sandbox: str) -> None:
    found = api.get(f"{E}/sandboxes/{sandbox}").expect(200).json()
    assert (found["provider_sandbox_id"], found["state"], found["sandbox_kind"]) == (
        sandbox,
        "running",
        "task",
    )
    assert found in api.get(f"{E}/sandboxes?state=running,paused&limit=200").expect(200).json()["items"]
    assert (
        found
        in api.get(f"{E}/sandboxes?project_id={found['project_id']}&limit=200").expect(200).json()["items"]
    )
    assert api.get(f"{E}/sandboxes?state=killed&limit=200").expect(200).json()["items"] != [found]
    first = api.get(f"{E}/sandboxes?limit=1").expect(200).json()
    assert len(first["items"]) == 1
    usage = api.get(f"{E}/sandboxes/usage").expect(200).json()
    assert usage["sessions_count"] >= 1
    assert usage["total_runtime_seconds"] >= usage["current_month_seconds"]
    assert isinstance(api.get(f"{E}/sandboxes/{sandbox}/logs").expect(200).json()["logs"], str)


def test_instruction_is_filled_in_for_an_environment(api: Api, sandbox: str) -> None:
    path = f"{E}/tasks/ledger/instruction"
    assert "{{ target }}" in api.get(path).expect(200).json()["instruction"]
    filled = api.get(f"{path}?sandbox_id={sandbox}").expect(200).json()["instruction"]
    assert filled == "Go to https://x as true, not {{nobody}}."
    api.get(f"{path}?sandbox_id=none").expect(404)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sandboxes?state=sleeping", 422),
        ("sandboxes?limit=0", 422),
        ("sandboxes?cursor=x", 422),
        ("sandboxes?cursor=Wy0xXQ", 422),
        ("sandboxes?project_id=none", 404),
        ("sandboxes/none", 404),
        ("sandboxes/none/logs", 404),
        ("sandboxes/01a21d40-fc89-7066-8c85-71c9d7c6f7f1", 404),
    ],
)
def test_sandbox_that_is_not_there_or_wrong_filter_is_refused(api: Api, path: str, status: int) -> None:
    assert api.get(f"{E}/{path}").expect(status).json()["code"] == status


def test_dn_sandbox_lists_and_deletes(
    server: Server, api: Api, sandbox: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dn = Dn(server, tmp_path_factory.mktemp("dn"))
    listed = dn("sandbox", "list", "--state", "running", "--json").ok().json()
    assert sandbox in [one["provider_sandbox_id"] for one in listed]
    dn("sandbox", "delete", sandbox, "--yes").ok()
    assert api.get(f"{E}/sandboxes/{sandbox}").expect(200).json()["state"] == "killed"
    assert api.get(f"{E}/ws/default/environments/{sandbox}").expect(200).json()["state"] == "torn_down"
