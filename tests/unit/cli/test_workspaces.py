"""Workspaces on the command line against a fake server: what tables, details, names and completion show of them."""

from typing import Any

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli, run_process


def add(fake: NativeServer, name: str, **more: Any) -> str:
    """Put a workspace into the fake and return its id."""
    made = f"01a21d55-8458-7e8d-ab75-{len(fake.workspaces):012d}"
    fake.workspaces[made] = {"id": made, "name": name, "iac_type": "terraform", **more}
    return made


@pytest.mark.parametrize(("limit", "shown"), [("1", 1), ("200", 200), ("450", 405)])
def test_workspace_list_follows_pages_up_to_its_limit(
    fake: NativeServer, cli: Cli, limit: str, shown: int
) -> None:
    ids = [add(fake, f"w{number}") for number in range(405)]
    out = cli("workspace", "list", "--limit", limit, "--output", "name").expect(0).out
    assert out.splitlines() == ids[:shown]


def test_workspace_list_as_wide_table_has_tool_and_repository(fake: NativeServer, cli: Cli) -> None:
    add(fake, "net", repository="acme/infra", iac_version="1.9")
    assert "acme/infra" not in cli("workspace", "list").expect(0).out
    wide = cli("workspace", "list", "--wide").expect(0).out
    assert "acme/infra" in wide
    assert "terraform 1.9" in wide


def test_workspace_get_shows_all_that_decides_about_its_runs(fake: NativeServer, cli: Cli) -> None:
    told: dict[str, str | list[str]] = {
        "repository_url": "file:///srv/git/net", "branch": "main", "working_directory": "prod", "cron": "0 3 * * *",
        "vcs_integration_id": "6745a2f09b1c8e5d3f7a0b12", "runner_type": "jenkins", "apply_rule": "auto",
        "labels": ["prod", "eu"], "locked_by": "ana", "lock_reason": "moving", "project_id": "a" * 24,
    }  # fmt: skip
    add(fake, "net", **told)
    out = cli("workspace", "get", f"{fake.url}/workspaces/net").expect(0).out
    for value in told.values():
        assert (", ".join(value) if isinstance(value, list) else value) in out


def test_workspace_completion_offers_names(fake: NativeServer, environment: dict[str, str]) -> None:
    add(fake, "net-prod")
    add(fake, "edge")
    asked = environment | {
        "_RUNYARD_COMPLETE": "bash_complete",
        "COMP_WORDS": "runyard workspace get n",
        "COMP_CWORD": "3",
    }
    assert run_process(asked).expect(0).out.split(",")[1].strip() == "net-prod"
