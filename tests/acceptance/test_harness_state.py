"""States in the Harness door: the `http` backend at its paths, its locks, and what the resources of a workspace show."""

import base64
import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import BASE, body, refused
from tests.support.http import Api
from tests.support.server import Server


@pytest.fixture(scope="module")
def door(server: Server) -> Iterator[Api]:
    with server.api() as api:
        yield api


@pytest.fixture
def workspace(door: Api) -> str:
    identifier = f"w{uuid.uuid4().hex[:10]}"
    door.post(f"{BASE}/workspaces", body(identifier)).expect(201)
    return f"{BASE}/workspaces/{identifier}"


@pytest.mark.skipif(shutil.which("terraform") is None, reason="needs the terraform command")
def test_state_backend_serves_the_real_command(door: Api, workspace: str, tmp_path: Path) -> None:
    address = f"http://{door.host}:{door.port}{workspace}/terraform-backend"
    query = "?accountIdentifier=default"
    (tmp_path / "main.tf").write_text(
        f"""terraform {{
  backend "http" {{
    address        = "{address}{query}"
    lock_address   = "{address}/lock{query}"
    unlock_address = "{address}/lock{query}"
    lock_method    = "POST"
    unlock_method  = "DELETE"
    username       = "harness"
    password       = "{door.token}"
  }}
}}
resource "terraform_data" "a" {{
  count = 2
  input = "x${{count.index}}"
}}
output "hidden" {{
  value     = "open sesame"
  sensitive = true
}}
"""
    )

    def terraform(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "HOME": str(tmp_path),
            "CHECKPOINT_DISABLE": "1",
        }
        return subprocess.run(
            ["terraform", *words, "-no-color"], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    assert terraform("init").returncode == 0
    assert terraform("apply", "-auto-approve").returncode == 0
    assert terraform("plan", "-detailed-exitcode").returncode == 0
    info = {"ID": str(uuid.uuid4()), "Operation": "test", "Who": "somebody"}
    lock = door.post(f"{workspace}/terraform-backend/lock{query}", info).expect(200).json()
    assert (lock["ID"], lock["workspace"]) == (info["ID"], workspace.rpartition("/")[2])
    second = terraform("plan")
    assert second.returncode != 0
    assert info["ID"] in second.stderr
    found = door.get(f"{workspace}/resources").expect(200).json()
    assert (found["total_resources"], found["totalItems"], found["hasMore"]) == (2, 2, False)
    assert {one["type"] for one in found["resources"]} == {"terraform_data"}
    assert found["outputs"] == [{"name": "hidden", "value": "(sensitive value)", "sensitive": True}]
    selected = door.post(f"{workspace}/resources/search", {"selectors": [{"name": "a[[]1]"}], "limit": 1})
    assert [one["name"] for one in selected.expect(200).json()["resources"]] == ["a[1]"]
    door.request("DELETE", f"{workspace}/terraform-backend/lock{query}", info).expect(200)


def test_force_unlock_removes_the_lock_of_the_state_too(door: Api, workspace: str) -> None:
    lock = f"{workspace}/terraform-backend/lock?accountIdentifier=default"
    door.post(lock, {"ID": "held", "Who": "me"}).expect(200)
    shown = door.get(workspace).expect(200).json()
    assert (shown["backend_locked"], shown["lock"]["manual"], shown["lock"]["id"]) == (True, False, "held")
    door.post(f"{workspace}/actions/force-unlock").expect(200)
    shown = door.get(workspace).expect(200).json()
    assert (shown["backend_locked"], "lock" in shown) == (False, False)
    door.post(lock, {"ID": "mine"}).expect(200)


def test_backend_answers_a_persons_lock_in_the_form_of_the_tool_and_checks_what_comes(
    door: Api, workspace: str
) -> None:
    name = f"u{uuid.uuid4().hex[:8]}"
    door.post("/runyard/v1/users", {"name": name, "role": "operator"}).expect(201)
    other = door.clone(
        door.post("/runyard/v1/tokens", {"name": name, "user": name}).expect(201).json()["secret"]
    )
    backend = f"{workspace}/terraform-backend"
    door.post(f"{workspace}/actions/lock", {"reason": "audit"}).expect(200)
    held = other.post(f"{backend}/lock", {"ID": "mine", "Who": "me"}).expect(423).json()
    assert (held["Who"], held["Info"], held["manual"], held["reason"]) == ("admin", "audit", True, "audit")
    assert held["ID"]
    state = json.dumps({"version": 4, "serial": 1, "lineage": "a", "resources": []}).encode()
    damaged = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    refused(door.request("POST", backend, state, damaged), 400, "BadRequestError")
    assert door.get(backend).status == 204
    sound = base64.b64encode(hashlib.md5(state).digest()).decode()
    door.request("POST", backend, state, {"Content-MD5": sound}).expect(200)
    answer = door.get(backend).expect(200)
    assert (answer.body, answer.headers["content-md5"]) == (state, sound)
