"""Secrets and ends of executions: what is never shown, what is dead when an end is shown, and results of ten megabytes."""

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_st2_wire import Door
from tests.conftest import ServerFactory
from tests.support.server import Server

WORD = "open-sesame-and-close"
PACK = {
    "pack.yaml": "ref: vault\nname: vault\nversion: 1.0.0\nauthor: T\ndescription: D\n",
    "config.schema.yaml": "key: {type: string, secret: true}\n",
    "actions/shell.yaml": (
        "name: shell\nrunner_type: local-shell-cmd\nparameters:\n  word: {type: string, secret: true, required: true}\n"
        "  cmd: {immutable: true, default: 'printf %s {{ word }} | sha256sum | cut -c1-64; echo out {{ word }}; "
        "echo err {{ word }} >&2'}\n"
    ),
    "actions/python.yaml": (
        "name: python\nrunner_type: python-script\nentry_point: python.py\nparameters:\n"
        "  word: {type: string, secret: true, required: true}\n  parts: {type: object, properties: "
        "{deep: {type: string, secret: true}}}\n"
        "output_schema: {made: {type: string, secret: true}, open: {type: string}}\n"
    ),
    "actions/python.py": (
        "from st2common.runners.base_action import Action\n\nclass It(Action):\n    def run(self, word, parts=None):\n"
        "        self.logger.info('a log line with %s', word)\n        print(self.config['key'], parts)\n"
        "        if word.endswith('!'):\n            raise ValueError('wrong: ' + word)\n"
        "        return {'made': 'a fresh secret', 'open': word[::-1], 'shown': [word, {word: 1}]}\n"
    ),
    "actions/big.yaml": "name: big\nrunner_type: python-script\nentry_point: big.py\n",
    "actions/big.py": (
        "from st2common.runners.base_action import Action\n\nclass It(Action):\n    def run(self):\n"
        "        return {'rows': ['x' * 1000] * 10_000}\n"
    ),
}


@pytest.fixture(scope="module")
def door(server: Server) -> Iterator[Door]:
    """Return the door of the session's server, with a pack that has secrets."""
    write(server)
    with server.api() as api:
        door = Door(api)
        door("POST", "/v1/packs/register", {"packs": ["vault"]}).expect(200)
        door("PUT", "/v1/configs/vault", {"key": "key-of-the-pack"}).expect(200)
        yield door


def write(server: Server) -> None:
    for name, content in PACK.items():
        path = server.data_dir / "packs" / "vault" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def run(door: Door, action: str, parameters: Any) -> dict[str, Any]:
    """Run an action to its end."""
    made = door("POST", "/v1/executions", {"action": action, "parameters": parameters}).expect(201)
    assert WORD.encode() not in made.body
    return door.ended(made.json()["id"])


def everywhere(door: Door, execution: str, secrets: str = "") -> list[tuple[str, bytes]]:
    """Return what each place says of an execution."""
    mark = f"show_secrets={secrets}" if secrets else ""
    places = (
        f"/v1/executions/{execution}?{mark}", f"/v1/executions?id={execution}&{mark}",
        f"/v1/executions/{execution}/attribute/result?{mark}", f"/v1/executions/{execution}/result?{mark}",
        f"/v1/executions/{execution}/result?pretty_format=1&{mark}", f"/v1/executions/{execution}/output?{mark}",
        f"/stream/v1/executions/{execution}/output", f"/runyard/v1/executions/{execution}",
        f"/runyard/v1/executions/{execution}/history", f"/runyard/v1/executions/{execution}/output",
        f"/v1/stream?end_event=st2.execution__update&end_execution_id={execution}&{mark}",
        f"/v1/executions/{execution}/result?compress=1&download=1&{mark}",
    )  # fmt: skip
    both = {"X-Auth-Token": door.token, "Authorization": f"Bearer {door.token}"}
    found = [(path, door("GET", path, headers=both).expect(200).body) for path in places]
    name, packed = found[-1]
    return [*found[:-1], (name, gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)]


def test_secrets_are_shown_nowhere_and_to_administrators_who_ask(door: Door) -> None:
    shell = run(door, "vault.shell", {"word": WORD})
    python = run(door, "vault.python", {"word": WORD, "parts": {"deep": "deep-secret"}})
    failed = run(door, "vault.python", {"word": f"{WORD}!"})
    digest = hashlib.sha256(WORD.encode()).hexdigest()
    assert shell["result"]["stdout"] == f"{digest}\nout ********"
    assert shell["result"]["stderr"] == "err ********"
    assert python["result"]["result"] == {
        "made": "********", "open": WORD[::-1], "shown": ["********", {"********": 1}],
    }  # fmt: skip
    assert python["parameters"]["parts"] == {"deep": "********"}
    assert failed["status"] == "failed"
    for one in (shell, python, failed):
        for path, body in everywhere(door, one["id"]):
            for secret in (WORD, "a fresh secret", "deep-secret", "key-of-the-pack"):
                assert secret.encode() not in body, path
    shown = dict(everywhere(door, python["id"], "true"))
    clear = [path for path, body in shown.items() if WORD.encode() in body and b"a fresh secret" in body]
    assert len(clear) == 6, clear
    assert b"deep-secret" in shown[f"/v1/executions/{python['id']}?show_secrets=true"]


def test_secrets_are_used_again_by_a_re_run_and_hidden_in_a_result_set_by_hand(door: Door) -> None:
    first = run(door, "vault.shell", {"word": WORD})
    again = door("POST", f"/v1/executions/{first['id']}/re_run", {}).expect(201)
    assert WORD.encode() not in again.body
    ended = door.ended(again.json()["id"])
    assert ended["result"] == first["result"]
    other = door(
        "POST",
        f"/v1/executions/{first['id']}/re_run?show_secrets=1",
        {"parameters": {"word": "another-word"}},
    )
    assert other.expect(201).json()["parameters"] == {"word": "another-word"}
    late = door(
        "POST", "/v1/executions", {"action": "vault.shell", "parameters": {"word": WORD}, "delay": 60_000}
    )
    path = f"/v1/executions/{late.expect(201).json()['id']}"
    child = {
        "action": "vault.shell",
        "parameters": {"word": WORD},
        "context": {"parent": {"execution_id": path[15:]}},
    }
    door.ended(door("POST", "/v1/executions", child).expect(201).json()["id"])
    door("PUT", path, {"status": "succeeded", "result": {"said": f"the word {WORD}"}}).expect(200)
    for place in ("", "/children", "/attribute/result"):
        assert WORD.encode() not in door("GET", path + place).expect(200).body
        assert WORD.encode() in door("GET", f"{path}{place}?show_secrets=yes").expect(200).body


def test_results_of_ten_megabytes_come_back_whole(door: Door) -> None:
    shell = run(door, "core.local", {"cmd": "head -c 10000000 /dev/zero | tr '\\0' x"})
    python = run(door, "vault.big", {})
    assert len(shell["result"]["stdout"]) == 10_000_000
    assert sum(map(len, python["result"]["result"]["rows"])) == 10_000_000
    for one in (shell, python):
        path = f"/v1/executions/{one['id']}"
        body = door("GET", f"{path}/result").expect(200).body
        assert (len(body), json.loads(body)) == (one["result_size"], one["result"])
        small = door("GET", f"{path}?max_result_size=1000000").expect(200).json()
        assert ("result" in small, small["result_size"]) == (False, one["result_size"])


def living(marker: str) -> list[int]:
    """Return the processes of the host whose command line holds a marker; zombies have none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0")[:2]:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


STUBBORN = (
    "(setsid sh -c 'trap \"\" TERM HUP INT; sleep {0}; sleep {0}; true' &) ; (setsid nohup sleep {0} >/dev/null 2>&1 &); "
    "perl -e 'exit' 2>/dev/null; "
)


@pytest.mark.parametrize(
    ("ending", "after"), [("canceled", "wait; sleep {0}"), ("succeeded", "sleep 0.3; true")]
)
def test_no_process_of_a_run_lives_when_its_end_is_shown(door: Door, ending: str, after: str) -> None:
    marker = f"86.{time.monotonic_ns() % 10**9:09}"
    made = door(
        "POST", "/v1/executions",
        {"action": "core.local", "parameters": {"cmd": (STUBBORN + after).format(marker)}},
    )  # fmt: skip
    path = f"/v1/executions/{made.expect(201).json()['id']}"
    wait_for(lambda: len(living(marker)) >= 2)
    if ending == "canceled":
        door("DELETE", path).expect(200)
    while (status := door("GET", f"{path}?include_attributes=status").json()["status"]) in (
        "running",
        "canceling",
    ):
        pass
    left = living(marker)
    assert (status, left) == (ending, [])


def test_killed_server_leaves_nothing_running_and_no_execution_that_says_so(
    fresh_server: ServerFactory,
) -> None:
    server, marker = fresh_server(), f"87.{time.monotonic_ns() % 10**9:09}"
    write(server)
    with server.api() as api:
        door = Door(api)
        door("POST", "/v1/packs/register", {"packs": ["vault"]}).expect(200)
        ids = [
            door("POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": f"sleep {marker}"}})
            .expect(201)
            .json()["id"]
            for _ in range(6)
        ]
        wait_for(lambda: len(living(marker)) == 6)
        server.kill()
        wait_for(lambda: not living(marker))
    server.start()
    with server.api() as api:
        door = Door(api)
        found = [door("GET", f"/v1/executions/{one}").expect(200).json() for one in ids]
        assert {one["status"] for one in found} == {"abandoned"}
        assert all(one["log"][-1]["status"] == "abandoned" and "end_timestamp" in one for one in found)
        for status in ("running", "canceling", "scheduled", "requested"):
            assert door("GET", f"/v1/executions?status={status}").json() == []
        assert door.run("echo again")["result"]["stdout"] == "again"
        layers = server.kept_layers()
        assert all(name.startswith("warm-") for name in layers), layers
