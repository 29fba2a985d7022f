"""Crash safety: the server is killed at random points under load, and must come back with nothing lost or left over."""

import contextlib
import http.client
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support import ledger
from tests.support.http import Api
from tests.support.server import Server

ROUNDS = 8
SEED = 20_261
LOST = (OSError, http.client.HTTPException)


@dataclass
class Runtime:
    """What a client knows of one runtime."""

    id: str
    stopped: bool = False
    paused: bool = False
    touched: bool = False
    """A transition was under way when the server died, so its outcome is open."""
    deleted: bool | None = False
    """None while a delete is under way."""
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Notes:
    """All that was acknowledged before the kill."""

    runtimes: dict[str, Runtime] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    """Exit code by marker of commands whose answer arrived."""
    begun: set[str] = field(default_factory=set)
    """Markers of commands that were sent."""
    checkpoints: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


class Client:
    """One thread of mixed load."""

    def __init__(self, server: Server, notes: Notes, seed: int) -> None:
        """Remember where to note what was acknowledged."""
        self.api, self.notes, self.random = server.api(timeout=20), notes, random.Random(seed)
        self.own: list[Runtime] = []

    def run(self) -> None:
        """Act until the server is gone."""
        with contextlib.suppress(*LOST):
            while True:
                usable = [one for one in self.own if one.deleted is False]
                if len(usable) < 2:
                    self.create()
                    continue
                one = self.random.choice(usable)
                actions: list[Callable[[Runtime], None]] = [self.exec, self.exec, self.long, self.file]
                actions += [self.turn, self.checkpoint, self.delete]
                self.random.choice(actions)(one)

    def good(self, status: int, *expected: int) -> bool:
        """Note an answer that no client should ever get, and tell whether the call worked."""
        if status >= 500:
            self.notes.faults.append(f"status {status}")
        return status in expected

    def create(self) -> None:
        """Create a runtime."""
        answer = self.api.post("/v1/runtimes", {"name": f"crash-{uuid.uuid4().hex[:8]}"})
        if self.good(answer.status, 200):
            runtime = Runtime(answer.data["id"])
            self.notes.runtimes[runtime.id] = runtime
            self.own.append(runtime)

    def command(self, one: Runtime, script: str, **fields: object) -> None:
        """Run a command that carries a marker."""
        marker = uuid.uuid4().hex
        self.notes.begun.add(marker)
        body = {"command": f"{script}; : {marker}", **fields}
        answer = self.api.post(f"/v1/runtimes/{one.id}/exec", body)
        if self.good(answer.status, 200):
            self.notes.ended[marker] = answer.data["exit_code"]

    def exec(self, one: Runtime) -> None:
        """Run a short command."""
        self.command(one, "echo short")

    def long(self, one: Runtime) -> None:
        """Run a command that takes a while and leaves processes behind."""
        self.command(one, "setsid sleep 5000 >/dev/null 2>&1 & sleep 0.4; head -c 100000 /dev/zero")

    def file(self, one: Runtime) -> None:
        """Write a file."""
        path, content = f"/root/{uuid.uuid4().hex}", self.random.randbytes(20_000)
        if self.good(self.api.write_file(one.id, path, content).status, 204):
            one.files[path] = content

    def turn(self, one: Runtime) -> None:
        """Stop, start, pause or resume."""
        verb = self.random.choice(["start" if one.stopped else "stop", "resume" if one.paused else "pause"])
        one.touched = True
        if self.good(self.api.post(f"/v1/runtimes/{one.id}/{verb}").status, 200):
            if verb in ("start", "stop"):
                one.stopped, one.paused = verb == "stop", False
            else:
                one.paused = verb == "pause"
        one.touched = False

    def checkpoint(self, one: Runtime) -> None:
        """Take a checkpoint."""
        answer = self.api.post(f"/v1/runtimes/{one.id}/checkpoints", {"kind": "full"})
        if self.good(answer.status, 200) and answer.data["state"] == "ready":
            self.notes.checkpoints.add(answer.data["id"])

    def delete(self, one: Runtime) -> None:
        """Delete the runtime."""
        one.deleted = None
        one.deleted = self.good(self.api.delete(f"/v1/runtimes/{one.id}").status, 200)


def check_runtime(api: Api, one: Runtime) -> None:
    """Assert that a runtime is what was acknowledged, or says why not."""
    answer = api.get(f"/v2/runtimes/{one.id}")
    if one.deleted is None:
        assert answer.status in (200, 404)
        return
    assert answer.status == (404 if one.deleted else 200), (one, answer.body)
    if one.deleted:
        return
    data = answer.data
    expected = "shutdown" if one.stopped else "paused" if one.paused else "running"
    if data["status"] in ("crashed", "error"):
        assert data.get("error_message") or data.get("error_code"), data
    elif not one.touched:
        assert data["status"] == expected, (one, data["status"])
    if data["status"] == "paused":
        api.post(f"/v1/runtimes/{one.id}/resume").expect(200)
    elif data["status"] != "running":
        api.post(f"/v1/runtimes/{one.id}/start").expect(200)
    for path, content in one.files.items():
        assert api.read_file(one.id, path).expect(200).body == content
    assert api.sh(one.id, "echo back") == "back\n"


def check_executions(api: Api, notes: Notes) -> None:
    """Assert that no execution is stuck and that none was lost whose answer had arrived."""
    deadline = time.monotonic() + 10
    while True:
        rows: list[dict[str, Any]] = ledger.executions(api)
        open_rows = [row for row in rows if row["status"] not in ledger.TERMINAL]
        if not open_rows:
            break
        assert time.monotonic() < deadline, f"stuck: {open_rows[:3]}"
        time.sleep(0.1)
    by_marker = {
        row["command"].rpartition(": ")[2]: row for row in rows if ": " in (row.get("command") or "")
    }
    missing = [marker for marker in notes.ended if marker not in by_marker]
    assert not missing, f"{len(missing)} of {len(notes.ended)} acknowledged executions are not in the ledger"
    for marker, code in notes.ended.items():
        row = by_marker[marker]
        assert (row["status"], row["exit_code"]) == ("succeeded" if code == 0 else "failed", code), row
    for marker in notes.begun - set(notes.ended):
        row = by_marker.get(marker, {})
        if row.get("status") == "abandoned":
            assert row["status_reason"], row


def test_server_killed_at_random_points_loses_and_leaves_nothing(fresh_server: Callable[..., Server]) -> None:
    chance = random.Random(SEED)
    server, notes = fresh_server(start=False), Notes()
    for number in range(ROUNDS):
        server.start()
        clients = [Client(server, notes, SEED + 100 * number + index) for index in range(4)]
        threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.3, 1.6))  # the random point itself
        server.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        server.traces.assert_gone(server.data_dir, groups=False)
        server.start()
        with server.api() as api:
            check_executions(api, notes)
            for one in notes.runtimes.values():
                check_runtime(api, one)
                if one.deleted is False:
                    api.delete(f"/v1/runtimes/{one.id}").expect(200)
            for checkpoint in notes.checkpoints:
                assert api.get(f"/v1/checkpoints/{checkpoint}").expect(200).data["state"] == "ready"
        notes.runtimes.clear()
        server.kill()
    assert not notes.faults, notes.faults[:5]
    assert notes.ended
    server.start()


def kill_process(server: Server) -> None:
    """Kill whatever process the server has now, leaving its owner to notice."""
    if server.process is not None:
        server.process.kill()


def test_server_killed_during_start_comes_back(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    with server.api() as api:
        runtime = api.create(name="kept")["id"]
        api.write_file(runtime, "/root/kept", b"kept").expect(204)
    for delay in (0.05, 0.2, 0.4, 0.8):
        server.kill()
        timer = threading.Timer(delay, kill_process, [server])
        timer.start()
        with contextlib.suppress(AssertionError):
            server.start()
        timer.join()
    server.kill()
    server.start()
    with server.api() as api:
        check_runtime(api, Runtime(runtime, files={"/root/kept": b"kept"}))


def test_clean_restart_keeps_definition_files_revision_and_checkpoints(
    fresh_server: Callable[..., Server],
) -> None:
    server = fresh_server()
    with server.api() as api:
        running, stopped = (api.create(name=name)["id"] for name in ("running", "stopped"))
        for runtime in (running, stopped):
            api.write_file(runtime, "/root/kept", runtime.encode()).expect(204)
        api.post(f"/v1/runtimes/{stopped}/stop").expect(200)
        taken = (
            api.post(f"/v1/runtimes/{running}/checkpoints", {"kind": "full", "name": "cp"})
            .expect(200)
            .data["id"]
        )
        before = {one: api.get(f"/v2/runtimes/{one}").data for one in (running, stopped)}
    server.restart()
    with server.api() as api:
        for one, old in before.items():
            new = api.get(f"/v2/runtimes/{one}").expect(200).data
            kept = ("display_name", "status", "revision", "created_at", "egress_policy", "idle_policy")
            assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
        api.post(f"/v1/runtimes/{stopped}/start").expect(200)
        for one in (running, stopped):
            assert api.sh(one, "cat /root/kept") == one
        restored = api.create(checkpoint_id=taken)["id"]
        assert api.sh(restored, "cat /root/kept") == running


def test_long_command_ends_when_the_server_stops(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    with server.api() as api:
        runtime = api.create()["id"]
        lost: list[str] = []

        def wait() -> None:
            try:
                answer = server.api().post(
                    f"/v1/runtimes/{runtime}/exec", {"command": "echo begun; sleep 600"}
                )
                lost.append(str(answer.status))
            except LOST as error:
                lost.append(repr(error))

        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 10
        while not ledger.executions(api, status="running"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20
    thread.join(10)
    assert lost
    server.start()
    with server.api() as api:
        row = next(row for row in ledger.executions(api) if "sleep 600" in row["command"])
        assert row["status"] in ("canceled", "abandoned", "failed")
        assert row["status_reason"]
        assert ledger.output(api, row["id"]) == b"begun\n"
