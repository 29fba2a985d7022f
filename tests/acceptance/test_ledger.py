"""Every exec is in the ledger: who, where, what, how it ended, and its output, live and afterwards."""

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ledger
from tests.support.http import Api
from tests.support.server import Server
from tests.support.stream import run_stream

READERS = 100


def row_of(api: Api, marker: str) -> dict[str, Any]:
    """Return the one execution whose command holds a marker."""
    rows = [row for row in ledger.executions(api, text=marker) if marker in row["command"]]
    assert len(rows) == 1, rows
    return rows[0]


def test_exec_leaves_a_complete_row_and_outlives_its_runtime(api: Api) -> None:
    marker = uuid.uuid4().hex
    runtime = api.create(name="ledgered")["id"]
    api.exec(runtime, f"echo out-{marker}; echo err >&2; exit 3")
    api.delete(f"/v1/runtimes/{runtime}").expect(200)
    row = row_of(api, marker)
    assert (row["kind"], row["door"], row["status"], row["exit_code"]) == ("exec", "runta", "failed", 3)
    assert (row["place"]["kind"], row["place"]["id"], row["place"]["name"]) == (
        "runtime",
        runtime,
        "ledgered",
    )
    assert row["actor"]
    assert row["created_at"] <= row["started_at"] <= row["ended_at"]
    assert row["output_bytes"] == len(f"out-{marker}\nerr\n")
    assert sorted(ledger.output(api, row["id"]).split()) == sorted(f"out-{marker} err".encode().split())
    assert api.get(f"{ledger.ROOT}/executions/{row['id']}").expect(200).json()["id"] == row["id"]
    history = api.get(f"{ledger.ROOT}/executions/{row['id']}/history").expect(200).json()["items"]
    assert history


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"command": "true", "args": []}, "succeeded"),
        ({"command": "sleep 30", "timeout_secs": 1}, "timeout"),
        ({"command": "kill -9 $$"}, "failed"),
        ({"command": "no-such-program", "args": []}, "failed"),
    ],
)
def test_ledger_status_says_how_it_ended(api: Api, shared: str, body: dict[str, Any], status: str) -> None:
    marker = uuid.uuid4().hex
    if "args" in body:
        body = {**body, "args": [marker]}
    else:
        body = {**body, "command": f"{body['command']} # {marker}"}
    api.post(f"/v1/runtimes/{shared}/exec", body).expect(200)
    assert row_of(api, marker)["status"] == status


def test_stream_is_in_the_ledger_too(server: Server, api: Api, shared: str) -> None:
    marker = uuid.uuid4().hex
    run_stream(server, shared, "echo", marker)
    row = row_of(api, marker)
    assert (row["status"], row["exit_code"]) == ("succeeded", 0)
    assert ledger.output(api, row["id"]) == f"{marker}\n".encode()


def test_output_is_read_by_range_and_searched(api: Api, shared: str) -> None:
    marker = uuid.uuid4().hex
    api.exec(shared, f"seq 1 20000; echo {marker}; echo {marker.upper()}")
    row = row_of(api, marker)
    whole = ledger.output(api, row["id"])
    assert whole.startswith(b"1\n2\n3\n")
    assert len(whole) == row["output_bytes"]
    assert ledger.output(api, row["id"], offset=50_000) == whole[50_000:]
    found = api.get(f"{ledger.ROOT}/executions/{row['id']}/output/search?text={marker}").expect(200).json()
    assert found["total"] == 1
    assert found["hits"][0]["line_number"] == 20001
    both = api.get(f"{ledger.ROOT}/executions/{row['id']}/output/search?text={marker}&ignore_case=true")
    assert both.expect(200).json()["total"] == 2


def test_secret_is_masked_in_everything_that_is_kept(server: Server, api: Api) -> None:
    value = f"s3cr3t{uuid.uuid4().hex}"
    marker = uuid.uuid4().hex
    secret = (
        api.put(f"/v2/secrets/mask-{marker}", {"value": value, "cache_ttl_secs": 0}).expect(200).data["id"]
    )
    configuration = [{"secret_id": secret, "environment": [{"name": "KEY", "value_template": "${secret}"}]}]
    runtime = api.post("/v2/runtimes", {"secret_configuration": configuration}).expect(201).data["id"]
    cut = f"printf {value[:10]}; sleep 0.2; printf '{value[10:]}\\n'"
    data = api.exec(runtime, f"echo $KEY {value}; {cut}; echo {marker}")
    assert data["stdout"].count(value) == 3
    row = row_of(api, marker)
    assert value not in str(row)
    kept = ledger.output(api, row["id"])
    assert value.encode() not in kept
    assert marker.encode() in kept
    for path in [p for p in server.data_dir.rglob("*") if p.is_file() and p.stat().st_size < 50_000_000]:
        assert value.encode() not in path.read_bytes(), f"the secret is on disk in clear: {path}"
    assert value not in Path(server.log_path).read_text()
    api.delete(f"/v1/runtimes/{runtime}").expect(200)
    api.delete(f"/v2/secrets/mask-{marker}").expect(200)


def start_printing(server: Server, runtime: str, script: str) -> threading.Thread:
    """Run a command in the background."""
    thread = threading.Thread(target=lambda: server.api().exec(runtime, script, max_output_bytes=1 << 20))
    thread.start()
    return thread


def running(api: Api, marker: str) -> str:
    """Return the id of the running execution whose command holds a marker."""
    deadline = time.monotonic() + 10
    while True:
        for row in ledger.executions(api, status="running"):
            if marker in row["command"]:
                identity: str = row["id"]
                return identity
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_hundred_live_readers_see_everything_once(
    server: Server, api: Api, make_runtime: Callable[..., str]
) -> None:
    marker = uuid.uuid4().hex
    script = f"sleep 1; for i in $(seq 20); do seq -s, 1 5000; sleep 0.02; done; : {marker}"
    thread = start_printing(server, make_runtime(), script)
    execution = running(api, marker)
    found: list[bytes] = []

    def read() -> None:
        found.append(
            b"".join(event.chunk() for event in ledger.live(server, execution) if event.name == "output")
        )

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    thread.join()
    assert len(found) == READERS
    assert set(found) == {ledger.output(api, execution)}


def test_live_reader_comes_back_by_last_event_id(server: Server, api: Api, runtime: str) -> None:
    marker = uuid.uuid4().hex
    thread = start_printing(
        server, runtime, f"for i in $(seq 40); do echo line $i; sleep 0.05; done; : {marker}"
    )
    execution = running(api, marker)
    seen, last = b"", None
    for _ in range(4):
        for count, event in enumerate(ledger.live(server, execution, last_id=last)):
            if event.name == "output":
                seen, last = seen + event.chunk(), event.id
            if count == 5:
                break
        else:
            break
    for event in ledger.live(server, execution, last_id=last):
        seen += event.chunk() if event.name == "output" else b""
    thread.join()
    assert seen == "".join(f"line {n}\n" for n in range(1, 41)).encode()


def test_running_execution_is_cancelled(server: Server, api: Api, runtime: str) -> None:
    marker = uuid.uuid4().hex
    thread = start_printing(server, runtime, f"echo begun; sleep 500; : {marker}")
    execution = running(api, marker)
    answer = api.post(f"{ledger.ROOT}/executions/{execution}/cancel", {"reason": "enough"})
    assert answer.status == 202, answer.body
    thread.join(15)
    assert not thread.is_alive()
    row = row_of(api, marker)
    assert row["status"] == "canceled"
    assert api.exec(runtime, "pgrep -x sleep")["stdout"] == ""


def test_executions_filter_and_page(api: Api, shared: str) -> None:
    marker = uuid.uuid4().hex
    for code in (0, 1, 0):
        api.exec(shared, f"exit {code} # {marker}")
    assert len(ledger.executions(api, text=marker)) == 3
    assert len(ledger.executions(api, text=marker, status="failed")) == 1
    assert len(ledger.executions(api, text=marker, status="failed,succeeded", limit=1)) == 3
    assert len(ledger.executions(api, text=marker, place=shared)) == 3
    assert ledger.executions(api, text=marker, kind="plan") == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "status=none", "cursor=zzz", "kind=none", "created_after=x"]
)
def test_executions_bad_query_is_a_problem(api: Api, query: str) -> None:
    answer = api.get(f"{ledger.ROOT}/executions?{query}")
    assert answer.status in (400, 422), answer.body
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert {"title", "status", "code", "detail", "request_id"} <= set(answer.json())


def test_unknown_execution_is_not_found(api: Api) -> None:
    for path in ("", "/history", "/output", "/output/live", "/output/search?text=x"):
        assert api.get(f"{ledger.ROOT}/executions/{'0' * 24}{path}").status == 404, path
