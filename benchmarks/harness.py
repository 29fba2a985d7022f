"""Remote plans: from execute to the first line of the log, and a large archive up."""

import hashlib
import io
import os
import shutil
import statistics
import tarfile
import time
import uuid

from benchmarks.plan import Growth, Plan, serving
from benchmarks.report import Section
from tests.support.harness import Unified, packed
from tests.support.server import Server

BASE = "/iacm/api/orgs/default/projects/default"
ARCHIVE_BYTES = 50 << 20
GROWTH_LIMIT = 20


def workspace(server: Server) -> str:
    """Make a workspace and return its identifier."""
    identifier = f"b{uuid.uuid4().hex[:10]}"
    document = {
        "identifier": identifier, "name": identifier, "provisioner": "terraform", "provider_connector": "none",
        "terraform_variables": {}, "environment_variables": {},
    }  # fmt: skip
    server.api().post(f"{BASE}/workspaces", document).expect(201)
    return identifier


def first_line(server: Server, archive: bytes) -> float:
    """Return the seconds from the execute call to the first line of the log."""
    client = Unified(server.port, server.token, workspace=workspace(server))
    client.begin(archive, {}, "application/octet-stream")
    path = f"/log-service/stream?accountID=default&key=runs%2F{client.remote['pipeline_execution_id']}%2Fplan"
    stream = client.events(path, {"x-api-key": server.token})
    next(stream)
    took = time.perf_counter() - client.executing
    for event, _, _ in stream:
        if event == "error":
            break
    return took


def noise(size: int) -> bytes:
    """Pack random bytes, which no gzip makes smaller."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("big.bin")
        info.size = size
        archive.addfile(info, io.BytesIO(os.urandom(size)))
    return target.getvalue()


def measure(plan: Plan) -> list[Section]:
    """Measure both."""
    section = Section("Remote plans through the Harness API")
    with serving() as server:
        data = noise(ARCHIVE_BYTES)
        one = f"{BASE}/workspaces/{workspace(server)}/remote-executions"
        api = server.api(timeout=120)
        made = api.post(one, {"custom_arguments": {}}).expect(201).json()["id"]
        digest = {"Content-Digest": f"sha256={hashlib.sha256(data).hexdigest()}"}
        growth, began = Growth(server.pid), time.perf_counter()
        api.request("POST", f"{one}/{made}/upload", data, digest).expect(200)
        rate = len(data) / (time.perf_counter() - began) / 1e6
        section.add("archive of 50 MiB up, checked entry by entry", f"{rate:.0f} MB/s")
        section.add("memory meanwhile", f"+{growth.mebibytes:.0f} MiB", "", f"under {GROWTH_LIMIT} MiB", growth.mebibytes < GROWTH_LIMIT)  # fmt: skip
        if shutil.which("terraform") is None:
            section.skip("execute to first log line", "no terraform command")
            return [section]
        code = packed({"main.tf": 'resource "terraform_data" "a" {\n  input = 1\n}\n'})
        times = sorted(first_line(server, code) for _ in range(max(3, plan.creates // 6)))
        shown = f"{times[0] * 1000:.0f} / {statistics.median(times) * 1000:.0f} / {times[-1] * 1000:.0f} ms"
        section.add("after execute, first log line (min / p50 / max)", shown)
    return [section]
