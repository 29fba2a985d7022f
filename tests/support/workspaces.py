"""Workspaces and their runs as Firefly's clients handle them, as far as runs need it. Owns no server."""

import time
from collections.abc import Sequence
from typing import Any

from tests.support.http import Api
from tests.support.repositories import Repository

SECONDS = 90.0
"""How long a run may take until it has a status."""


class Workspaces:
    """Speaks Firefly's API as its clients do, as far as runs need it."""

    def __init__(self, api: Api, repository: Repository) -> None:
        """Use a client and the repository of the code."""
        self.api = api
        self.repository = repository

    def create(self, name: str, **more: object) -> str:
        """Add a workspace and return its id; the code comes from the local repository."""
        body = {
            "runnerType": "firefly",
            "iacType": "terraform",
            "workspaceName": name,
            "vcsId": self.integration(),
            "repo": self.repository.folder.name,
            "defaultBranch": "main",
            "vcsType": "github",
            "workDir": "",
            "variables": [],
            "execution": {"triggers": ["push"], "applyRule": "manual", "terraformVersion": ""},
            **more,
        }
        return str(self.api.post("/v2/runners/workspaces", body).expect(201).json()["id"])

    def integration(self) -> str:
        """Return an integration whose repositories are in the local folder."""
        listed = self.api.get("/v2/api/integrations/global/vcs").expect(200).json()["github"]
        if listed:
            return str(listed[0]["id"])
        body = {
            "name": "local",
            "type": "github",
            "url": f"file://{self.repository.folder.parent}",
        }
        return str(self.api.post("/runyard/v1/integrations", body).expect(201).json()["id"])

    def deploy(self, workspace: str, task: str = "apply", arguments: str = "") -> str:
        """Ask for a run and return its id."""
        body = {"taskType": task, "cmdArguments": arguments}
        return str(self.api.post(f"/v2/runners/workspaces/{workspace}", body).expect(200).json()["runId"])

    def run(self, workspace: str, run: str) -> dict[str, Any]:
        """Return a run as the search shows it."""
        body = {"filters": {"runId": [run]}}
        found = self.api.post(f"/v2/workspaces/{workspace}/runs/search", body).expect(200).json()
        return dict(found[0])

    def until(self, workspace: str, run: str, statuses: Sequence[str]) -> dict[str, Any]:
        """Wait until a run has one of some statuses."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = self.run(workspace, run)
            if found["status"] in statuses:
                return found
            ended = found["status"].endswith(("error", "discarded", "cancelled", "success", "no_changes"))
            passing = found["status"] == "plan_success" and {"applying", "apply_success"} & {*statuses}
            assert passing or not ended, (found, self.log(found))
            time.sleep(0.05)
        raise AssertionError(f"{self.run(workspace, run)} never got to {statuses}")

    def apply(self, workspace: str, run: dict[str, Any], kind: str = "apply") -> None:
        """Approve the plan of a run."""
        path = f"/v2/runners/workspaces/{workspace}/tasks/{run['planTaskId']}/apply"
        self.api.post(path, {"taskType": kind}).expect(200)

    def log(self, run: dict[str, Any], task: str = "planTaskId") -> str:
        """Return what a task has printed so far."""
        found = self.api.get(f"/runyard/v1/executions/{run[task]}/output?format=raw")
        return found.body.decode("utf-8", "replace")
