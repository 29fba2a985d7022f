"""Commands in environments on the wire: who may, in which order refusals come, output, time-outs, capacity."""

import concurrent.futures
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import ServerFactory
from tests.support.environments import BASE, Made, create, ready, upload
from tests.support.server import Server
from tests.support.tenant import add_account

NOWHERE = "01900000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def task(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push a task without services."""
    with server.api() as api:
        return upload(api, tmp_path_factory.mktemp("plain"), "plain")


@pytest.fixture(scope="module")
def box(server: Server, task: str) -> Iterator[Made]:
    """Provision it."""
    made = ready(server.api(), task, inputs={"word": "deep", "flag": True, "list": [1, 2]})
    yield made
    made.delete()


def test_answer_of_create_holds_the_token_and_no_other_answer_does(box: Made) -> None:
    assert box.first["state"] in ("provisioning", "ready")
    assert box.first["execute_token"].startswith("ry_env_")
    seen = box.get()
    assert seen["execute_token"] is None
    assert seen["task_ref"] == "default/plain@0.1.0"
    assert seen["task_verification"] == {"method": "flag", "path": "/tmp/result.txt", "value": "FLAG{a}"}
    status = box.api.get(box.path("status")).expect(200).json()
    assert {"id", "state", "expires_at"} <= set(status)
    assert status["execute_token"] is None
    listed = box.api.get(f"{BASE}?state=running&state=failed&limit=200").expect(200).json()
    assert box.id in [one["id"] for one in listed["environments"]]
    assert {"has_next", "has_previous", "limit", "page", "total"} <= set(listed)
    assert box.id not in box.api.get(f"{BASE}?state=killed").expect(200).body.decode()
    box.api.get(f"{BASE}?state=nosuch").expect(422)


def test_refusals_come_in_the_order_of_path_token_body_state(box: Made, task: str) -> None:
    gone = ready(box.api, task)
    gone.delete()
    right = {"X-Environment-Token": f"Bearer {box.token}"}
    for path, headers, body, status in [
        (f"{BASE}/{NOWHERE}/execute", right, {"command": "true"}, 404),
        (f"{BASE}/not-an-id/execute", right, {"command": "true"}, 404),
        (box.path("execute").replace("/ws/default/", "/ws/other/"), right, {"command": "true"}, 404),
        (box.path("execute"), {}, {"command": "true"}, 401),
        (box.path("execute"), {"X-Environment-Token": "Bearer x"}, {}, 401),
        (box.path("execute"), right, {}, 422),
        (box.path("execute"), right, {"command": ""}, 422),
        (box.path("execute"), right, {"command": "true", "timeout_sec": 601}, 422),
        (box.path("execute"), right, {"command": "true", "timeout_sec": "1"}, 422),
        (gone.path("execute"), right, {"command": "true"}, 401),
        (gone.path("execute"), {"X-Environment-Token": gone.token}, {"command": "true"}, 409),
    ]:
        answer = box.api.request("POST", path, body, headers=headers)
        assert answer.status == status, (path, headers, body, answer)
        error = answer.json()
        assert error["code"] == status
        assert error["detail"]
    assert "torn_down" in error["detail"]
    with box.api.anonymous() as stranger:
        stranger.request("POST", box.path("execute"), {"command": "true"}, headers=right).expect(401)


def test_both_spellings_of_the_token_are_taken(box: Made) -> None:
    for spelled in (box.token, f"Bearer {box.token}", f"bearer  {box.token}"):
        headers = {"X-Environment-Token": spelled}
        box.api.request("POST", box.path("execute"), {"command": "true"}, headers=headers).expect(200)


def test_output_is_combined_in_order_and_told_apart_on_demand(box: Made) -> None:
    script = "for i in 1 2 3 4; do echo out$i; echo err$i >&2; done; exit 3"
    done = box.execute(script).expect(200).json()
    assert done["output"] == "".join(f"out{i}\nerr{i}\n" for i in range(1, 5))
    assert (done["exit_code"], done["timed_out"], done["truncated"]) == (3, False, False)
    assert box.execute("echo a; echo b 1>&2").json()["output"] == "a\nb\n"
    apart = box.execute(script, split=True).expect(200).json()
    assert (apart["stdout"], apart["stderr"]) == (
        "".join(f"out{i}\n" for i in range(1, 5)),
        "".join(f"err{i}\n" for i in range(1, 5)),
    )


def test_commands_are_for_bash_and_find_their_variables(box: Made) -> None:
    assert box.sh("[[ abc == a* ]] && echo ${BASH_VERSION:+bash} <(true) | cut -c1-8") == "bash /de"
    assert box.sh("echo $word $WORD $FLAG $list; pwd") == "deep deep true [1,2]\n/root"
    assert box.sh("cd /home/user/task && pwd") == "/home/user/task"  # even where a task has no files to show
    assert box.sh("cat; echo $MORE", stdin="given", env={"MORE": "more"}, cwd="/tmp") == "givenmore"
    for command in ("cd /nosuch", "cd /nosuch || false", "cd /nosuch || exit 1", "cd /nosuch && ls"):
        assert box.execute(command).json()["exit_code"] == 1, command
    assert box.sh("cd /tmp; cd ..; pwd; cd; pwd") == "/\n/root"
    assert box.execute("kill -9 $$").json()["exit_code"] == 137
    assert box.execute("nosuchprogram").json()["exit_code"] == 127


def test_timeout_ends_the_whole_group_and_keeps_what_was_printed(box: Made) -> None:
    began = time.monotonic()
    done = (
        box.execute("echo before; sleep 300 & (sleep 300; echo no) ; wait", timeout_sec=1).expect(200).json()
    )
    assert (done["exit_code"], done["output"], done["timed_out"]) == (124, "before\n", True)
    assert time.monotonic() - began < 8
    assert box.execute("pgrep -c sleep").json()["output"] == "0\n"


def test_background_processes_neither_hold_a_command_nor_end_with_it(box: Made) -> None:
    began = time.monotonic()
    box.sh("setsid sleep 301 & echo started")
    assert time.monotonic() - began < 30
    assert box.sh("pgrep -fc '^sleep 301'") == "1"


def test_output_beyond_the_limit_keeps_head_and_tail(box: Made) -> None:
    done = box.execute("echo first; yes 0123456789abcdef | head -c 30000000; echo; echo last", timeout_sec=60)
    seen = done.expect(200).json()
    assert seen["truncated"]
    assert seen["output"].startswith("first\n")
    assert seen["output"].endswith("\nlast\n")
    assert "bytes left out" in seen["output"]
    assert len(seen["output"]) < 11 << 20
    assert "[" not in seen["output"]


def test_a_silent_command_keeps_its_client_by_blanks(box: Made) -> None:
    body = json.dumps({"command": "until [ -e /tmp/heard ]; do sleep 0.05; done; echo done"})
    head = (
        f"POST {box.path('execute')} HTTP/1.1\r\nHost: x\r\nX-API-Key: {box.api.token}\r\n"
        f"X-Environment-Token: {box.token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection((box.api.host, box.api.port), timeout=30) as link:
        link.sendall(head.encode())
        first = link.recv(65536)
        assert first.startswith(b"HTTP/1.1 200")
        box.sh("touch /tmp/heard")
        text = first
        while b"0\r\n\r\n" not in text:
            text += link.recv(65536)
    assert b'"output":"done\\n"' in text


def test_client_that_leaves_ends_its_command(box: Made) -> None:
    body = json.dumps({"command": "sleep 302", "timeout_sec": 600})
    head = (
        f"POST {box.path('execute')} HTTP/1.1\r\nHost: x\r\nX-API-Key: {box.api.token}\r\n"
        f"X-Environment-Token: {box.token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection((box.api.host, box.api.port), timeout=30) as link:
        link.sendall(head.encode())
        while box.execute("pgrep -fc '^sleep 302'").json()["output"] != "1\n":
            time.sleep(0.05)
    deadline = time.monotonic() + 10
    while box.execute("pgrep -fc '^sleep 302'").json()["output"] != "0\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_files_go_in_and_out_and_stream_tells_output_as_it_comes(box: Made) -> None:
    headers = {"X-Environment-Token": box.token}
    path = box.path("files") + "?path=" + quote("/work/über/data.bin")
    content = bytes(range(256)) * 1000
    box.api.request("PUT", f"{path}&mode=750", content, headers=headers).expect(204)
    assert box.api.request("GET", path, headers=headers).expect(200).body == content
    assert box.sh("stat -c %a /work/über/data.bin") == "750"
    box.api.request("GET", path, headers={}).expect(401)
    box.api.request("GET", box.path("files") + "?path=/nosuch", headers=headers).expect(404)
    box.api.request("GET", box.path("files") + "?path=relative", headers=headers).expect(422)
    text, end = streamed(box, "echo a; sleep 0.3; echo b; exit 5")
    assert (text, end["type"], end["exit_code"], end["truncated"]) == ("a\nb\n", "end", 5, False)


def streamed(made: Made, command: str) -> tuple[str, dict[str, Any]]:
    """Run a command whose output is streamed; return that and the last line."""
    headers = {"X-Environment-Token": made.token}
    answer = made.api.request("POST", made.path("execute/stream"), {"command": command}, headers=headers)
    lines = [json.loads(line) for line in answer.expect(200).body.splitlines() if line.strip()]
    return "".join(line["data"] for line in lines if line["type"] == "output"), lines[-1]


def test_stream_keeps_characters_whole_whose_bytes_come_apart(box: Made) -> None:
    text, _ = streamed(box, "printf '\\303'; sleep 0.3; printf '\\274\\n\\303'")
    assert text == "ü\n\ufffd"
    text, _ = streamed(box, "python3 -c 'print(\"ü€\" * 200_000)'")
    assert text == "ü€" * 200_000 + "\n"


def test_stream_says_that_there_was_more_than_a_log_holds(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    one = fresh_server(output__log_bytes=65_536)
    with one.api() as api:
        made = ready(api, upload(api, tmp_path, "plain"))
        text, end = streamed(made, "yes | head -c 200000")
        assert len(text) < 100_000
        assert (end["exit_code"], end["truncated"]) == (0, True)


def test_executions_of_an_environment_are_in_the_ledger(box: Made) -> None:
    box.sh("echo recorded")
    found = box.api.get(f"/runyard/v1/executions?place=environment:{box.id}&limit=200").expect(200)
    kinds = {one["kind"]: one for one in found.json()["items"]}
    assert {"exec", "provision"} <= set(kinds)
    assert kinds["provision"]["status"] == "succeeded"


def test_lifetime_is_cut_refused_and_extended(box: Made, task: str) -> None:
    box.api.post(BASE, {"task_ref": task, "timeout_sec": 8 * 3600 + 1}).expect(422)
    box.api.post(BASE, {"task_ref": task, "timeout_sec": 0}).expect(422)
    before = box.get()["expires_at"]
    after = box.api.post(box.path("extend"), {"timeout_sec": 7200}).expect(200).json()["expires_at"]
    assert after > before
    short = ready(box.api, task, timeout_sec=1)
    assert short.state("torn_down", seconds=15)["service_urls"] is None
    assert (
        box.api.post(BASE, {"task_ref": "nosuch"}).expect(404).json()["detail"].startswith("Task not found")
    )
    unknown = box.api.post(BASE, {"task_ref": "nosuch", "project_id": NOWHERE}).expect(404).json()["detail"]
    assert "roject" in unknown
    box.api.post(BASE, {"task_ref": task, "secret_ids": [NOWHERE]}).expect(404)
    box.api.post(BASE, {"task_ref": task, "model_overrides": {"judge": "x"}}).expect(422)
    box.api.post(BASE, {"task_ref": task, "inputs": {"a": "\u0000"}}).expect(422)


def test_secrets_reach_commands_and_are_masked_in_all_that_is_kept(box: Made, task: str) -> None:
    value = "s3cret-value-of-a-user-4711"
    secret = box.api.post("/api/v1/user/secrets", {"name": "MY_KEY", "value": value}).expect(201).json()
    made = ready(box.api, task, secret_ids=[secret["id"]])
    assert made.sh("echo $MY_KEY") == value
    found = box.api.get(f"/runyard/v1/executions?place=environment:{made.id}").json()["items"]
    for one in found:
        output = box.api.get(f"/runyard/v1/executions/{one['id']}/output").body
        assert value.encode() not in output
    made.delete()


def test_capacity_is_answered_instead_of_hanging(fresh_server: ServerFactory, tmp_path: Path) -> None:
    one = fresh_server(
        environments__executes_at_once=2, environments__executes_waiting=1, environments__max_living=2
    )
    with one.api() as api:
        task = upload(api, tmp_path, "small")
        box, other = ready(api, task), ready(api, task)
        refused = api.post(BASE, {"task_ref": task}).expect(429)
        assert int(refused.headers["retry-after"]) >= 1
        assert "credit" not in refused.json()["detail"]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:

            def run(_: int) -> int:
                with api.clone() as own:
                    return Made(own, box.id, box.token, {}).execute("sleep 0.5").status

            statuses = sorted(threads.map(run, range(6)))
        assert statuses == [200, 200, 200, 429, 429, 429]
        assert box.sh("echo free") == "free"
        other.delete()
        create(api, task)


def test_account_that_takes_all_it_can_leaves_room_for_others(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    server = fresh_server(environments__max_living=8)
    assert server.stop() == 0
    token = add_account(server, "other")
    server.start()
    with server.api() as api, api.clone(token) as other:
        task = upload(api, tmp_path, "small")
        api.request("PATCH", f"/api/v1/org/default/tasks/{task}/visibility", {"is_public": True}).expect(200)
        for _ in range(7):
            create(api, task)
        refused = api.post(BASE, {"task_ref": task}).expect(429)
        assert "7 of the 8" in refused.json()["detail"]
        other.post("/runyard/v1/projects", {"slug": "default"}).expect(201)
        place = BASE.replace("/org/default/", "/org/other/")
        other.post(place, {"task_ref": f"default/{task}"}).expect(201)
        other.post(place, {"task_ref": f"default/{task}"}).expect(429)
