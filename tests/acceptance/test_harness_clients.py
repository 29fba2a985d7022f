"""Remote plans as the two command-line clients do them: their timings, their ways to end, and what they print."""

import concurrent.futures
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Hc, Outcome, Unified, packed
from tests.support.http import Api
from tests.support.server import Server

pytestmark = [
    pytest.mark.skipif(shutil.which("terraform") is None, reason="needs the terraform command"),
    pytest.mark.timeout(180),
]

BASE = "/iacm/api/orgs/default/projects/default"
TWO = 'resource "terraform_data" "one" {\n  input = "1"\n}\nresource "terraform_data" "two" {\n  input = "2"\n}\n'
SLOW = """output "slow" {
  value = sum([for i in range(1000) : length([for j in range(1000) : length([for k in range(5) : i * j * k])])])
}
"""


@pytest.fixture(scope="module")
def door(server: Server) -> Iterator[Api]:
    with server.api() as api:
        yield api


@pytest.fixture(scope="module")
def key(door: Api) -> str:
    return str(
        door.post("/runyard/v1/tokens", {"name": "cli", "shape": "harness"}).expect(201).json()["secret"]
    )


def workspace(door: Api, **more: object) -> str:
    identifier = f"c{uuid.uuid4().hex[:10]}"
    document: dict[str, Any] = {
        "identifier": identifier, "name": identifier, "provisioner": "terraform", "provider_connector": "none",
        "terraform_variables": {}, "environment_variables": {}, **more,
    }  # fmt: skip
    door.post(f"{BASE}/workspaces", document).expect(201)
    return identifier


@dataclass(frozen=True)
class Scenario:
    """A plan that both clients do, each against a workspace of its own."""

    files: dict[str, str]
    arguments: dict[str, list[str]] = field(default_factory=dict)
    workspace: dict[str, Any] = field(default_factory=dict)


VARIABLES = {
    "word": {"value": "visible-word", "value_type": "string"},
    "password": {"value": "open-sesame-77", "value_type": "secret"},
}
LOCAL_STATE = json.dumps(
    {
        "version": 4, "terraform_version": "1.11.4", "serial": 3, "lineage": str(uuid.uuid4()), "resources": [],
        "outputs": {"left": {"value": "behind", "type": "string"}},
    }
)  # fmt: skip
OTHER_BACKEND = {"version": 3, "backend": {"type": "http", "config": {"address": "http://x"}, "hash": 1}}
SCENARIOS = {
    "targets": Scenario(
        {"main.tf": TWO}, {"target": ["terraform_data.two"], "replace": ["terraform_data.two"]}
    ),
    "unchanged": Scenario({"main.tf": "locals {\n  nothing = true\n}\n"}),
    "failed": Scenario({"main.tf": 'resource "terraform_data" {}\n'}),
    "long": Scenario(
        {
            "main.tf": 'output "long" {\n  value = join("", [for i in range(70) : join("", [for j in range(1000) : "x"])])\n}\n'
        }
    ),
    "variables": Scenario(
        {
            "main.tf": 'variable "word" {}\nvariable "password" {}\noutput "both" {\n  value = "${var.word} ${var.password}"\n}\n'
        },
        workspace={"terraform_variables": VARIABLES},
    ),
    "used": Scenario(
        {
            "net/main.tf": f'{TWO}terraform {{\n  cloud {{\n    organization = "x"\n  }}\n}}\n',
            "net/terraform.tfstate": LOCAL_STATE,
            "net/terraform.tfstate.backup": LOCAL_STATE,
            "net/terraform.tfstate.d/prod/terraform.tfstate": LOCAL_STATE,
            "net/.terraform/terraform.tfstate": json.dumps(OTHER_BACKEND),
        },
        workspace={"repository_path": "net"},
    ),
    "folder": Scenario(
        {"net/prod/main.tf": TWO, "main.tf": "no code"}, workspace={"repository_path": "net/prod"}
    ),
}


@pytest.fixture(scope="module")
def outcomes(server: Server, key: str) -> dict[str, tuple[Outcome, Outcome]]:
    """Do all scenarios at once: the clients mostly wait, as they do in life."""

    def plan(kind: type[Hc] | type[Unified], scenario: Scenario) -> Outcome:
        with server.api() as api:
            name = workspace(api, **scenario.workspace)
        return kind(server.port, key, workspace=name).plan(packed(scenario.files), scenario.arguments)

    with concurrent.futures.ThreadPoolExecutor(2 * len(SCENARIOS)) as pool:
        begun = {
            name: (pool.submit(plan, Hc, one), pool.submit(plan, Unified, one))
            for name, one in SCENARIOS.items()
        }
        return {name: (old.result(), new.result()) for name, (old, new) in begun.items()}


Outcomes = dict[str, tuple[Outcome, Outcome]]


def test_plan_shows_its_log_once_in_both_clients_and_arguments_reach_the_tool(outcomes: Outcomes) -> None:
    for outcome in outcomes["targets"]:
        assert outcome.code == 0, outcome
        assert outcome.lines.count("Plan: 1 to add, 0 to change, 0 to destroy.") == 1, outcome.lines
        assert not any("terraform_data.one" in line for line in outcome.lines)
        command = next(line for line in outcome.lines if line.startswith("$ terraform plan"))
        assert "-target=terraform_data.two" in command
        assert "-replace=terraform_data.two" in command


def test_plan_without_changes_says_so_in_both_clients(outcomes: Outcomes) -> None:
    for outcome in outcomes["unchanged"]:
        assert outcome.code == 0, outcome
        assert any(line.startswith("No changes.") for line in outcome.lines), outcome.lines


def test_failed_plan_ends_both_clients(outcomes: Outcomes) -> None:
    old, new = outcomes["failed"]
    assert old.code == 0
    assert (new.code, new.error) == (1, "execution failed")
    for outcome in (old, new):
        assert any("Error" in line for line in outcome.lines), outcome


def test_long_line_comes_in_parts_without_a_reconnect(outcomes: Outcomes) -> None:
    for outcome in outcomes["long"]:
        assert sum(line.count("x") for line in outcome.lines if "xxxx" in line) == 70_000
        assert sum("xxxx" in line for line in outcome.lines) >= 9


def test_plan_uses_the_variables_of_the_workspace_and_hides_secrets(outcomes: Outcomes) -> None:
    for outcome in outcomes["variables"]:
        text = "\n".join(outcome.lines)
        assert outcome.code == 0, outcome
        assert "visible-word" in text
        assert "open-sesame-77" not in text


def test_code_in_the_repository_path_is_what_runs(outcomes: Outcomes) -> None:
    for outcome in outcomes["folder"]:
        assert outcome.code == 0, outcome
        assert "Plan: 2 to add, 0 to change, 0 to destroy." in outcome.lines


def test_states_that_the_tool_left_in_the_code_are_not_used(outcomes: Outcomes) -> None:
    for outcome in outcomes["used"]:
        assert outcome.code == 0, outcome
        assert "Plan: 2 to add, 0 to change, 0 to destroy." in outcome.lines
        assert "left out: terraform.tfstate; the state is kept by this server" in outcome.lines


def test_remote_plans_stand_in_the_ledger(door: Api, outcomes: Outcomes) -> None:
    assert outcomes
    items = door.get("/runyard/v1/executions?kind=plan&limit=50").expect(200).json()["items"]
    statuses = {one["status"] for one in items if one["door"] == "harness"}
    assert {"succeeded", "failed"} <= statuses


def test_locked_workspace_ends_the_older_client_with_the_message(door: Api, key: str) -> None:
    name = workspace(door)
    door.post(f"{BASE}/workspaces/{name}/actions/lock", {"reason": "frozen for the audit"}).expect(200)
    outcome = Hc(door.port, key, workspace=name).plan(packed({"main.tf": TWO}))
    assert outcome.code == 1
    assert "frozen for the audit" in outcome.error


def test_abort_from_elsewhere_ends_both_clients(fresh_server: Callable[..., Server]) -> None:
    # The tool hears an interrupt between two values only, so this one has to be killed in the end.
    server = fresh_server(infrastructure__interrupt_grace_secs=1)
    with server.api() as door:
        abort(door, server.token)


def abort(door: Api, key: str) -> None:
    name, archive = workspace(door), packed({"main.tf": SLOW})
    old, new = Hc(door.port, key, workspace=name), Unified(door.port, key, workspace=workspace(door))
    outcomes: dict[str, Outcome] = {}
    threads = [
        threading.Thread(target=lambda: outcomes.setdefault("old", old.plan(archive, limit=90))),
        threading.Thread(target=lambda: outcomes.setdefault("new", new.plan(archive, limit=90))),
    ]
    for thread in threads:
        thread.start()
    for client in (old, new):
        deadline = time.monotonic() + 30
        while not client.lines and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.lines, "the log has begun"
        query = (
            "accountIdentifier=default&orgIdentifier=default&projectIdentifier=default&interruptType=AbortAll"
        )
        path = f"/pipeline/api/pipeline/execute/interrupt/{client.remote['pipeline_execution_id']}?{query}"
        door.put(path).expect(200)
    for thread in threads:
        thread.join(100)
    assert outcomes["old"].code == 0
    assert (outcomes["new"].code, outcomes["new"].error) == (1, "execution aborted")


def test_reader_that_loses_its_connection_goes_on_where_it_was_and_stops_nothing(door: Api, key: str) -> None:
    client = Unified(door.port, key, workspace=workspace(door))
    client.begin(packed({"main.tf": TWO}), {}, "application/octet-stream")
    run = client.remote["pipeline_execution_id"]
    path = f"/log-service/stream?accountID=default&key=runs%2F{run}%2Fplan"
    stream = client.events(path, {"x-api-key": key})
    first = [next(stream) for _ in range(3)]
    stream.close()  # in the middle of the plan
    rest = whole(client, path, key, first[-1][2])
    assert [*first, *rest] == whole(client, path, key)
    assert any("Plan: 2 to add" in data for _, data, _ in rest)
    deadline = time.monotonic() + 20
    status = "Running"
    while status == "Running" and time.monotonic() < deadline:
        status = client.poll("", {"x-api-key": key})["pipelineExecutionSummary"]["status"]
        time.sleep(0.2)
    assert status == "Success"


def test_plan_that_cannot_begin_says_why_in_its_log(door: Api, key: str) -> None:
    name = workspace(door)
    lock = f"{BASE}/workspaces/{name}/terraform-backend/lock?accountIdentifier=default"
    door.post(lock, {"ID": "theirs", "Who": "ann@laptop"}).expect(200)
    client = Unified(door.port, key, workspace=name)
    client.begin(packed({"main.tf": TWO}), {}, "application/octet-stream")
    run = client.remote["pipeline_execution_id"]
    path = f"/log-service/stream?accountID=default&key=runs%2F{run}%2Fplan"
    stream = client.events(path, {"x-api-key": key})
    assert "has not begun: the state is locked by ann@laptop" in next(stream)[1]
    door.request("DELETE", lock, {"ID": "theirs"}).expect(200)
    rest = [data for event, data, _ in itertools.takewhile(lambda one: not one[0], stream)]
    assert any("Plan: 2 to add" in data for data in rest)
    assert not any("has not begun" in data for data in rest)


def whole(client: Unified, path: str, key: str, last: str = "0") -> list[tuple[str, str, str]]:
    """Read a log from a place to its end marker."""
    found = []
    for event in client.events(path, {"x-api-key": key, "Last-Event-ID": last}):
        if event[0]:
            break
        found.append(event)
    return found


def real(variable: str) -> str:
    """Return the path of a vendor's binary that the environment names; skip without one."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no binary")
    return path


def code_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "code"
    (folder / ".harness").mkdir(parents=True)
    (folder / "main.tf").write_text(TWO)
    (folder / ".harness" / "workspace.yaml").write_text(
        f"org_id: default\nproject_id: default\nworkspace_id: {name}\n"
    )
    return folder


def test_real_hc_plans_local_code(door: Api, key: str, tmp_path: Path) -> None:
    binary, name = real("RUNYARD_TEST_HC"), workspace(door)
    words = [
        "iacm",
        "plan",
        "--api-url",
        f"http://127.0.0.1:{door.port}",
        "--token",
        key,
        "--account",
        "default",
    ]
    done = subprocess.run(
        [binary, *words], input="y\n", cwd=code_folder(tmp_path, name), env={"HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Plan: 2 to add") == 1


def test_real_harness_plans_local_code(door: Api, key: str, tmp_path: Path) -> None:
    binary, name = real("RUNYARD_TEST_HARNESS"), workspace(door)
    environment = {
        "HARNESS_API_URL": f"http://127.0.0.1:{door.port}", "HARNESS_API_KEY": key, "HARNESS_ORG": "default",
        "HARNESS_PROJECT": "default", "HARNESS_CLI_HOME": str(tmp_path), "HARNESS_NO_TELEMETRY": "1",
        "HARNESS_NO_UPDATE_CHECK": "1", "HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [binary, "execute", "workspace", name, "--force"], cwd=code_folder(tmp_path, name), env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Plan: 2 to add") == 1
