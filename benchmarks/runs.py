"""A plan through the server against the bare commands in the same folder: what checkout, sandbox, state, reading and
guardrails cost on top.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.plan import Plan, serving
from benchmarks.report import Section, Times
from tests.support.http import Api
from tests.support.repositories import make_repository

RESOURCES = 100
LIMIT = 1.3
ROUNDS = 12
CODE = f'resource "terraform_data" "item" {{\n  count = {RESOURCES}\n  input = "item ${{count.index}}"\n}}\n'


def measure(plan: Plan) -> list[Section]:
    """Alternate between both, so that a noisy neighbour hits both."""
    section = Section(
        f"A plan of {RESOURCES} resources, from the request to the judged plan over the bare commands in the same folder (p10 / p50 / p99; the ratio is that of p10)"
    )
    program = shutil.which("terraform")
    if program is None:
        section.skip("run over bare init, plan and show", "no terraform in the PATH")
        return [section]
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        repository = make_repository(Path(folder) / "repositories" / "infra")
        repository.commit("Items", {"main.tf": CODE})
        allowed = f'["{repository.folder.parent}"]'
        with serving(infrastructure__local_repositories=allowed) as server, server.api() as api:
            body = {
                "name": "bench",
                "iac_type": "terraform",
                "repository_url": repository.url,
                "branch": "main",
            }
            workspace = api.post("/runyard/v1/workspaces", body).expect(201).json()["id"]
            through(api, workspace)  # the tool is copied at the first run
            packed = packed_folder(repository.folder)
            mine, uploaded, bare = [], [], []
            for number in range(min(ROUNDS, max(6, plan.rounds // 10))):
                bare.append(alone(program, repository.folder, Path(folder) / f"bare{number}"))
                mine.append(through(api, workspace))
                uploaded.append(of_upload(api, workspace, packed))
    other = Times(bare)
    section.remarks.append(f"The commands by themselves take {other}.")
    for words, values in (("the same folder, uploaded", uploaded), ("a repository, with its checkout", mine)):
        times = Times(values)
        ratio = times.p10 / other.p10
        section.add(words, str(times), f"{ratio:.2f}x", f"at most {LIMIT}x", ratio <= LIMIT)
    return [section]


def packed_folder(source: Path) -> bytes:
    """Return a folder as clients upload it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(source / "main.tf", "main.tf")
    return buffer.getvalue()


def of_upload(api: Api, workspace: str, packed: bytes) -> float:
    """Plan uploaded code as Terraform's `cloud` block asks for it; return the seconds to the judged plan."""
    base = "/api/v2"
    asked = {"data": {"attributes": {"speculative": True}}}
    path = f"{base}/workspaces/{workspace}/configuration-versions"
    made = api.post(path, asked).expect(201).json()["data"]
    address = "/" + made["attributes"]["upload-url"].split("/", 3)[3]
    api.anonymous().request("PUT", address, packed).expect(200)
    related = {
        "workspace": {"data": {"type": "workspaces", "id": workspace}},
        "configuration-version": {"data": {"type": "configuration-versions", "id": made["id"]}},
    }
    api.post(f"{base}/runs", {"data": {"attributes": {}, "relationships": related}}).expect(201)
    listed = api.get(f"/runyard/v1/workspaces/{workspace}/runs?limit=1").expect(200).json()["items"]
    return until_judged(api, listed[0])


def through(api: Api, workspace: str) -> float:
    """Plan through the server; return the seconds from the request to the judged plan."""
    run = api.post(f"/runyard/v1/workspaces/{workspace}/runs", {"kind": "plan"}).expect(201).json()
    return until_judged(api, run)


def until_judged(api: Api, run: dict[str, Any]) -> float:
    """Wait for the end of a run; return the seconds since it was asked for, as the server saw it."""
    while run["ended_at"] is None:
        time.sleep(0.02)
        run = api.get(f"/runyard/v1/runs/{run['id']}").expect(200).json()
    assert run["status"] == "plan_success", run
    return (_time(run["ended_at"]) - _time(run["created_at"])).total_seconds()


def alone(program: str, source: Path, folder: Path) -> float:
    """Run the commands by themselves in a copy of the code; return the seconds."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git"))
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
    }  # fmt: skip
    began = time.perf_counter()
    for arguments in (
        ("init", "-input=false", "-no-color"),
        ("plan", "-input=false", "-no-color", "-out=plan.bin"),
        ("show", "-json", "plan.bin"),
    ):
        subprocess.run((program, *arguments), cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
