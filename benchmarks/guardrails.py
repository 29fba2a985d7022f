"""Plans of many resources: reading, masking and judging one, as a pipeline reports it, and pages of what it would change."""

import base64
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.plan import Growth, Plan, serving
from benchmarks.report import Section, Times
from benchmarks.wire import Line, request
from tests.support.http import Api
from tests.support.planned import large, written
from tests.support.server import Server

RESOURCES = 10_000
LIMIT_SECONDS = 3.0
PAGE_MS = 50
ROUNDS = 5
ALL = {"include": ["*"]}
RULES: dict[str, dict[str, Any]] = {
    "cost": {"thresholdAmount": 100},
    "policy": {"severity": "low"},
    "resource": {
        "actions": ["delete"],
        "regions": {"include": ["eu-*"]},
        "assetTypes": {"include": ["aws_*"]},
    },
    "tag": {"tagEnforcementMode": "requiredTags", "requiredTags": ["Owner"]},
}
POLICY = "firefly { input.configuration.associate_public_ip_address == true }"
PAGES = {
    "first page of 25": ("?pageSize=25", {"mode": "list"}),
    "last page of 25": (f"?pageSize=25&page={RESOURCES // 25 - 1}", {"mode": "list"}),
    "page of 100 as a tree": ("?pageSize=100", {"mode": "tree"}),
    "page of 25 by text": ("?pageSize=25", {"mode": "list", "searchValue": "node[99"}),
}


def measure(plan: Plan) -> list[Section]:
    """Report large plans to a server with a rule of each type, then read pages of the last one."""
    section = Section(f"A plan of {RESOURCES:,} resources")
    with serving(guardrails__policy_secs="120") as server, tempfile.TemporaryDirectory() as folder:
        body = written(Path(folder), large(RESOURCES)).read_bytes()
        with server.api() as api:
            workspace = _prepared(api)
            assert server.process is not None
            growth = Growth(server.process.pid)
            took, run = [], ""
            for _ in range(min(plan.rounds, ROUNDS)):
                run = api.post(f"/runyard/v1/workspaces/{workspace}/reports", {}).expect(201).json()["id"]
                began = time.perf_counter()
                api.request("PUT", f"/runyard/v1/runs/{run}/plan", body).expect(200)
                took.append(time.perf_counter() - began)
            times = Times(took)
            words = f"take {len(body) / 1e6:.0f} MB, mask, keep, judge by a rule of each type"
            section.add(words, str(times), "", f"p50 under {LIMIT_SECONDS:g} s", times.p50 < LIMIT_SECONDS)
            section.add("growth of the server's memory meanwhile", f"{growth.mebibytes:.0f} MiB")
        _pages(section, server, workspace, run, min(plan.rounds, 30))
    section.remarks.append(
        "The policy looks at every resource that changes, 6,667 of them, in a process of its own."
    )
    return [section]


def _prepared(api: Api) -> str:
    """Make rules, a policy and a workspace whose runs a pipeline reports; return its id."""
    everywhere = dict.fromkeys(("workspaces", "repositories", "branches", "labels"), ALL)
    code = base64.b64encode(POLICY.encode()).decode()
    policy = {"name": "public address", "code": code, "type": ["aws_instance"], "severity": 4}
    api.post("/v2/governance/insights/create", policy).expect(200)
    for kind, criteria in RULES.items():
        rule = {
            "createdBy": "bench",
            "name": kind,
            "type": kind,
            "scope": everywhere,
            "criteria": {kind: criteria},
            "isEnabled": True,
            "severity": 3,
        }
        api.post("/v2/guardrails", rule).expect(200)
    new = {"name": "large", "runner_type": "github-actions", "iac_type": "terraform"}
    made: str = api.post("/runyard/v1/workspaces", new).expect(201).json()["id"]
    return made


def _pages(section: Section, server: Server, workspace: str, run: str, rounds: int) -> None:
    line = Line(server.port)
    headers = {"Authorization": f"Bearer {server.token}"}
    for words, (query, body) in PAGES.items():
        path = f"/v2/workspaces/{workspace}/runs/{run}/resources/search{query}"
        sent = request("POST", path, body, headers)
        values = []
        for _ in range(rounds):
            began = time.perf_counter()
            line.call(sent)
            values.append(time.perf_counter() - began)
        times = Times(values)
        section.add(words, str(times), "", f"p50 under {PAGE_MS} ms", times.p50 * 1000 < PAGE_MS)
