"""Environments: from create to ready, a command beside the same command in a runtime, and many of them at once."""

import concurrent.futures
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import latency, wire
from benchmarks.plan import Plan, serving
from benchmarks.report import Section, Times
from tests.support.environments import BASE, ready, upload
from tests.support.server import Server

MANY = 64
SERVED: Mapping[str, str] = {
    "task.yaml": "ports: {web: [8080]}\n",
    "docker-compose.yaml": "services:\n  web:\n    build: .\n    ports: [8080]\n",
    "Dockerfile": 'FROM python:3.11-alpine\nWORKDIR /srv\nCMD ["python", "-m", "http.server", "8080"]\n',
}
OURS = "execute in an environment"
RUNTA = "Runta buffered exec"


def measure(plan: Plan) -> list[Section]:
    """Measure one server with two tasks."""
    with serving() as server, tempfile.TemporaryDirectory() as folder, server.api() as api:
        plain, served = upload(api, Path(folder), "plain"), upload(api, Path(folder), "served", SERVED)
        return [
            provisioning(plan, server, plain, served),
            executing(plan, server, plain),
            many(server, plain),
        ]


def provisioning(plan: Plan, server: Server, plain: str, served: str) -> Section:
    """Measure the time from the request of a create to the first answer that says ready."""
    section = Section("Environments from create to ready, images cached (p10 / p50 / p99)")
    for what, task, limit in (
        ("a task without services", plain, 300),
        ("a task with a web service", served, None),
    ):
        with server.api() as api:
            ready(api, task).delete()
            values = []
            for _ in range(plan.creates):
                began = time.perf_counter()
                made = ready(api, task, pause=0.005)
                values.append(time.perf_counter() - began)
                made.delete()
        times = Times(values)
        met = None if limit is None else times.p50 * 1000 < limit
        section.add(what, str(times), "", "" if limit is None else f"p50 under {limit} ms", met)
    section.remarks.append("Each environment is deleted before the next one is created; polled every 5 ms.")
    return section


def executing(plan: Plan, server: Server, plain: str) -> Section:
    """Measure `echo hi` in an environment and in a runtime, in turns."""
    section = Section("`echo hi` as a shell string, one at a time (p10 / p50 / p99)")
    with server.api() as api:
        box, runtime = ready(api, plain), api.create()["id"]
        credentials = {"Authorization": f"Bearer {server.token}", "X-Environment-Token": box.token}
        ours = wire.request("POST", box.path("execute"), {"command": "echo hi"}, credentials)
        theirs = latency.exec_request(server, runtime, {"command": "echo hi"})
        line = wire.Line(server.port)
        times = latency.interleave(
            {OURS: lambda: line.call(ours), RUNTA: lambda: line.call(theirs)}, plan.rounds
        )
        line.close()
        box.delete()
    ratio = times[OURS].p50 / times[RUNTA].p50
    section.add(OURS, str(times[OURS]), f"{ratio:.2f} x exec", "at most 1.2 x exec", ratio <= 1.2)
    section.add(RUNTA, str(times[RUNTA]), "1.00")
    return section


def many(server: Server, plain: str) -> Section:
    """Measure 64 environments created at once, used, and torn down at once."""
    section = Section(f"{MANY} environments at once")

    def whole(_: int) -> str:
        with server.api() as own:
            made = ready(own, plain)
            made.sh("true")
            return made.id

    def end(environment: str) -> None:
        with server.api() as own:
            own.delete(f"{BASE}/{environment}").expect(204)

    with concurrent.futures.ThreadPoolExecutor(MANY) as threads:
        began = time.perf_counter()
        made = list(threads.map(whole, range(MANY)))
        created = time.perf_counter() - began
        began = time.perf_counter()
        list(threads.map(end, made))
        ended = time.perf_counter() - began
    section.add("created, ready and used", f"{created:.2f} s", f"{created / MANY * 1000:.0f} ms each")
    section.add("torn down", f"{ended:.2f} s", f"{ended / MANY * 1000:.0f} ms each")
    return section
