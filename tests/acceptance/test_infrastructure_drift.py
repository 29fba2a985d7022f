"""Drift that a schedule finds: something takes a resource out of the state, and nobody asks for a plan."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.conftest import ServerFactory
from tests.support.repositories import make_repository
from tests.support.server import Server
from tests.support.terraform import Terraform, needs_terraform
from tests.support.workspaces import SECONDS, Workspaces

pytestmark = needs_terraform
CODE = """
resource "terraform_data" "kept" { input = "kept" }
resource "terraform_data" "lost" { input = "lost" }
"""


def schedules(server: Server) -> list[str]:
    """Return the workspaces that the server has put on its calendar."""
    path = server.data_dir / "runyard.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT workspace_id FROM workspace_schedules")]


def let_time_pass(server: Server) -> None:
    """Put the calendar of a stopped server into the past, as if it had been away for long."""
    with closing(sqlite3.connect(server.data_dir / "runyard.db")) as database, database:
        assert database.execute("UPDATE workspace_schedules SET next_at = 1").rowcount == 1


def test_schedule_finds_drift_once_and_the_next_apply_mends_it(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repositories" / "infra")
    repository.commit("Two", {"main.tf": CODE})
    served = fresh_server(infrastructure__local_repositories=f'["{repository.folder.parent}"]')
    with served.api() as api:
        spaces = Workspaces(api, repository)
        workspace = spaces.create("net")
        yearly = {"cronExecutionPattern": "0 3 1 1 *"}
        api.request("PUT", f"/v2/runners/workspaces/{workspace}", {**yearly}).expect(200)
        run = spaces.until(workspace, spaces.deploy(workspace), ["plan_success"])
        spaces.apply(workspace, run)
        spaces.until(workspace, run["runId"], ["apply_success"])

        elsewhere = Terraform(served, tmp_path / "elsewhere")
        elsewhere.write(elsewhere.backend_http("net"), CODE)("init", "-input=false").ok()
        elsewhere("state", "rm", "terraform_data.lost").ok()

        deadline = time.monotonic() + SECONDS
        while schedules(served) != [workspace]:  # within the five seconds between two looks at what is wanted
            assert time.monotonic() < deadline, schedules(served)
            time.sleep(0.1)
    assert served.stop() == 0
    let_time_pass(served)
    served.start()
    with served.api() as api:
        spaces = Workspaces(api, repository)
        found: list[str] = []
        while not found:
            assert time.monotonic() < deadline, "the schedule asked for no plan"
            listed = api.post(f"/v2/workspaces/{workspace}/runs/search", {}).expect(200).json()
            found = [one["runId"] for one in listed if one["runName"] == "Drift detection"]
            time.sleep(0.1)
        assert len(found) == 1, found
        drift = spaces.until(workspace, found[0], ["plan_success"])
        assert "terraform_data.lost will be created" in spaces.log(drift)
        assert "1 to add, 0 to change, 0 to destroy" in spaces.log(drift)
        assert "terraform_data.kept will" not in spaces.log(drift)

        mended = spaces.until(workspace, spaces.deploy(workspace), ["plan_success"])
        spaces.apply(workspace, mended)
        spaces.until(workspace, mended["runId"], ["apply_success"])
        spaces.until(workspace, spaces.deploy(workspace, "plan"), ["plan_no_changes"])
        listed = api.post(f"/v2/workspaces/{workspace}/runs/search", {}).expect(200).json()
        assert [one["runName"] for one in listed] == ["Two", "Two", "Drift detection", "Two"]
        assert {one["title"] for one in listed} == {"Two"}
