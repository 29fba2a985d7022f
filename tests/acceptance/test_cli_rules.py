"""The command line over what the Firefly API writes: guardrails with their messages, and the variables of a run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Ran, environment_for, run_process
from tests.support.firefly import Firefly
from tests.support.server import ADMIN_TOKEN, Server

Runyard = Callable[..., Ran]
EVERYTHING = {"include": ["*"]}
UNKNOWN = "6745a2f09b1c8e5d3f7a0b12"


@pytest.fixture
def runyard(server: Server, tmp_path: Path) -> Runyard:
    """Return a runner of command lines."""
    environment = environment_for(tmp_path, server.url, server.token)

    def run(*arguments: str, **more: str) -> Ran:
        return run_process(environment | more, *arguments)

    return run


@pytest.fixture
def firefly(server: Server) -> Iterator[Firefly]:
    """Return a client of the other API."""
    with server.api() as api:
        yield Firefly(api, "admin", ADMIN_TOKEN)


def rule(name: str) -> dict[str, Any]:
    """Return the body of a guardrail that applies nowhere."""
    dimensions = ("repositories", "branches", "labels")
    return {
        "name": name, "type": "cost", "severity": 1, "isEnabled": True, "createdBy": "ana",
        "scope": {"workspaces": {"include": ["none-of-these"]}, **dict.fromkeys(dimensions, EVERYTHING)},
        "criteria": {"cost": {"thresholdAmount": 100}},
    }  # fmt: skip


def test_guardrails_are_listed_shown_and_refused_by_id(runyard: Runyard, firefly: Firefly) -> None:
    made = firefly.post("/v2/guardrails", rule("cli-rules dear"))["ruleId"]
    firefly.post("/v2/guardrails", rule("cli-rules other"))
    listed = runyard("guardrail", "list", "--text", "RULES DEAR", "--json").expect(0).json()["items"]
    assert [(one["id"], one["severity"], one["enabled"]) for one in listed] == [(made, "flexible", True)]
    newest = (
        runyard("guardrail", "list", "--text", "cli-rules", "--output", "name").expect(0).out.splitlines()
    )
    assert newest[1] == made
    shown = runyard("guardrail", "get", made).expect(0).out
    assert '{"cost": {"thresholdAmount": 100}}' in shown
    assert "none-of-these" in shown
    assert runyard("guardrail", "deliveries", made).expect(0).err == "nothing was sent\n"
    for verb in ("get", "deliveries"):
        assert f"guardrail '{UNKNOWN}' not found" in runyard("guardrail", verb, UNKNOWN).expect(3).err


def test_guardrails_without_the_permission_are_refused(runyard: Runyard) -> None:
    narrow = runyard("token", "create", "cli-rules", "--scope", "runtimes:read", "--json").expect(0).json()
    refused = runyard("guardrail", "list", RUNYARD_TOKEN=narrow["secret"]).expect(4)
    assert "lacks the permission guardrails:read" in refused.err


def test_workspace_variables_are_those_that_win_and_secrets_have_no_value(
    runyard: Runyard, firefly: Firefly
) -> None:
    wanted = firefly.workspace(
        "cli-rules-net",
        variables=[
            {"key": "region", "value": "eu", "destination": "iac"},
            {"key": "TF_VAR_region", "value": "us", "destination": "env"},
            {"key": "KEY", "value": "s3cret-of-the-run", "sensitivity": "secret"},
        ],
    )
    ran = runyard("workspace", "variables", "cli-rules-net", "--json").expect(0)
    assert "s3cret" not in ran.out
    assert {"key": "KEY", "destination": "env", "value": None, "secret": True} in ran.json()["items"]
    table = runyard("workspace", "variables", wanted["id"]).expect(0).out
    assert table.splitlines()[0].split() == ["KEY", "DESTINATION", "SECRET", "VALUE"]
    assert "s3cret" not in table
    assert "workspace 'nope' not found" in runyard("workspace", "variables", "nope").expect(3).err
