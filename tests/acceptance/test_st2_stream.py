"""The stream of the StackStorm door: slow readers, reconnects, ends, filters, back-fill and notifications."""

import functools
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tests.acceptance.test_st2_wire import Door, events, local
from tests.conftest import ServerFactory
from tests.support.http import Api
from tests.support.server import Server

OUTPUT = "st2.execution.output__create"
UPDATE = "st2.execution__update"


@pytest.fixture
def door(api: Api) -> Door:
    """Return the door of the session's server."""
    return Door(api)


class Listener:
    """A connection to the stream that reads when told to."""

    def __init__(self, server: Server, path: str, token: str, buffer: int | None = None) -> None:
        """Connect and wait for the first line, after which nothing is missed."""
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", server.port))
        self.connection.sock = sock
        mark = "&" if "?" in path else "?"
        self.connection.request("GET", f"{path}{mark}x-auth-token={token}")
        self.lines = self.connection.getresponse()
        assert self.lines.status == 200
        assert self.lines.headers["content-type"] == "text/event-stream; charset=UTF-8"
        assert self.lines.readline() == b"\n"

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what comes until the server ends it."""
        name = ""
        for raw in self.lines:
            line = raw.decode().rstrip("\r\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:]) if line[6:7] == "{" else line[6:]

    def until(self, done: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
        """Read until an event of a kind."""
        found = []
        for name, data in self.events():
            found.append((name, data))
            if done(name, data):
                return found
        raise AssertionError(f"it ended before: {found[-3:]}")

    def close(self) -> None:
        """Hang up."""
        self.lines.close()
        self.connection.close()


Listen = Callable[..., Listener]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Return a maker of listeners; those that were left open are closed at the end."""
    made: list[Listener] = []

    def make(*given: Any, **more: Any) -> Listener:
        made.append(Listener(*given, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Hook(BaseHTTPRequestHandler):
    """Takes callbacks: refuses the first, takes the others."""

    taken: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        """Take one."""
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if len(self.taken) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve for tests that look at the server's memory, stop it or kill it."""
    one = ServerFactory(tmp_path_factory.mktemp("own"))(actions__callback_hosts='["127.0.0.1"]')
    yield one
    one.close()


def create(door: Door, cmd: str, **more: Any) -> str:
    """Ask for a command and return the id."""
    made = door("POST", "/v1/executions", {**local(cmd=cmd), **more}).expect(201).json()
    return str(made["id"])


def test_every_change_is_told_once_and_in_order(door: Door, server: Server, listen: Listen) -> None:
    listener = listen(server, "/v1/stream?action_refs=core.local", door.token)
    made = create(door, "echo hi")
    found = listener.until(
        lambda name, data: name == UPDATE and data["status"] == "succeeded" and data["id"] == made
    )
    listener.close()
    mine = [(name, data["status"]) for name, data in found if made in (data["id"], data.get("execution_id"))]
    words = [status for name, status in mine if name.startswith("st2.execution__")]
    assert words == ["requested", "scheduled", "running", "succeeded"]
    assert next(name for name, _ in mine) == "st2.execution__create"
    assert not [name for name, _ in found if name == OUTPUT]
    assert [name for name, _ in found].count("st2.liveaction__create") == 1
    requested = next(data for name, data in found if name == "st2.execution__create")
    assert "result" not in requested
    assert requested["liveaction"]["runner_info"] == {}


@pytest.mark.parametrize("delay", [0, 60_000])
def test_parent_is_told_again_when_it_has_another_child(
    door: Door, server: Server, listen: Listen, delay: int
) -> None:
    parent = create(door, "true", delay=delay)
    if not delay:
        door.ended(parent)
    listener = listen(server, "/v1/stream?events=st2.execution__*", door.token)
    child = create(door, "true", context={"parent": {"execution_id": parent}})
    found = listener.until(lambda _, data: data["id"] == child and data["status"] == "succeeded")
    listener.close()
    told = [data for name, data in found if name == UPDATE and data["id"] == parent]
    assert [(data["status"], data["children"]) for data in told] == [
        ("delayed" if delay else "succeeded", [child])
    ]
    door("DELETE", f"/v1/executions/{parent}")


def test_filters_leave_only_what_they_name(door: Door, server: Server, listen: Listen) -> None:
    one, other = create(door, "true", delay=300), create(door, "true", delay=100)
    listener = listen(server, f"/v1/stream?execution_ids={one}&events=st2.execution__*", door.token)
    found = listener.until(lambda _, data: data["status"] == "succeeded")
    listener.close()
    assert {data["id"] for _, data in found} == {one}
    assert {name for name, _ in found} == {UPDATE}
    assert door.ended(other)["status"] == "succeeded"


def test_end_closes_the_stream_even_for_who_comes_late(door: Door, server: Server) -> None:
    made = create(door, "echo a; echo b >&2; printf c")
    door.ended(made)
    path = f"/v1/stream?events={UPDATE},{OUTPUT}&end_event={UPDATE}&end_execution_id={made}&x-auth-token={door.token}"
    for _ in range(2):
        found = list(events(server, path))
        assert sorted(data["data"] for name, data in found if name == OUTPUT) == ["a\n", "b\n", "c"]
        assert (found[-1][0], found[-1][1]["status"]) == (UPDATE, "succeeded")


def tells(text: str, name: str, data: Any) -> bool:
    """Tell whether an event is a piece of output that is a text."""
    return name == OUTPUT and bool(data["data"] == text)


def test_reader_who_reconnects_has_the_whole_output_each_time(
    door: Door, server: Server, listen: Listen
) -> None:
    made = create(door, "for i in 1 2 3 4 5 6; do echo $i; sleep 0.15; done")
    path = f"/v1/stream?events={UPDATE},{OUTPUT}&end_event={UPDATE}&end_execution_id={made}"
    for wanted in ("2\n", "4\n"):
        listener = listen(server, path, door.token)
        seen = listener.until(functools.partial(tells, wanted))
        listener.close()
        assert [data["data"] for name, data in seen if name == OUTPUT] == [
            f"{n}\n" for n in range(1, int(wanted) + 1)
        ]
    last = [data["data"] for name, data in listen(server, path, door.token).events() if name == OUTPUT]
    assert last == [f"{number}\n" for number in range(1, 7)]


def test_output_stream_is_filtered_by_kind_and_has_an_end(door: Door, server: Server, listen: Listen) -> None:
    made = create(door, "echo out; echo err >&2; sleep 0.4; echo late")
    for kind, wanted in (("", ["err\n", "late\n", "out\n"]), ("?output_type=stderr", ["err\n"])):
        listener = listen(server, f"/stream/v1/executions/{made}/output{kind}", door.token)
        found = list(listener.events())
        listener.close()
        assert found[-1] == ("EOF", "''")
        assert sorted(data["data"] for name, data in found if name == OUTPUT) == wanted
        assert {data["output_type"] for _, data in found[:-1]} <= {"stdout", "stderr"}


def test_every_line_has_an_id_of_its_own_that_all_listeners_get(
    door: Door, server: Server, listen: Listen
) -> None:
    made = [create(door, "echo a; sleep 0.1; echo b >&2; echo c; printf d") for _ in range(3)]
    given: dict[str, str] = {}
    for name in made:
        door.ended(name)
        for kind in ("", "?output_type=stdout", "?output_type=stderr"):
            listener = listen(server, f"/stream/v1/executions/{name}/output{kind}", door.token)
            for word, data in listener.events():
                if word == OUTPUT:
                    line = name + data["data"]
                    assert len(data["id"]) == 24
                    assert given.setdefault(data["id"], line) == line
            listener.close()
    assert sorted(given.values()) == sorted(
        name + line for name in made for line in ("a\n", "b\n", "c\n", "d")
    )


def test_removed_output_is_none_and_the_end_is_told(door: Door, server: Server) -> None:
    made = create(door, "yes | head -c 300000")
    door.ended(made)
    removed = list((server.data_dir / "output").rglob(f"{made}.*"))
    assert removed
    for file in removed:
        file.unlink()
    assert door("GET", f"/v1/executions/{made}/output").expect(200).body == b""
    token = f"x-auth-token={door.token}"
    assert list(events(server, f"/stream/v1/executions/{made}/output?{token}")) == [("EOF", "''")]
    path = f"/v1/stream?events={UPDATE},{OUTPUT}&end_event={UPDATE}&end_execution_id={made}&{token}"
    assert [(name, data["status"]) for name, data in events(server, path)] == [(UPDATE, "succeeded")]


def test_endless_line_is_sent_in_pieces_between_characters(
    door: Door, server: Server, listen: Listen
) -> None:
    made = create(
        door, "head -c 300000 /dev/zero | tr '\\0' 'a'; yes é | head -n 100000 | tr -d '\\n'; echo; echo end"
    )
    door.ended(made)
    listener = listen(server, f"/stream/v1/executions/{made}/output", door.token)
    lines = [data["data"] for name, data in listener.events() if name == OUTPUT]
    assert "".join(lines) == "a" * 300_000 + "é" * 100_000 + "\nend\n"
    assert len(lines) > 4
    assert max(len(line.encode()) for line in lines) < 200_000


def test_slow_reader_misses_no_end_and_takes_no_memory(own: Server, listen: Listen) -> None:
    server = own
    with server.api() as api:
        door = Door(api)
        slow = listen(server, "/v1/stream?events=st2.execution__*", door.token, buffer=4096)
        text = "x" * 12_000
        made = [
            door("POST", "/v1/executions", {"action": "core.noop", "parameters": {"text": text}}).json()["id"]
            for _ in range(510)
        ]
        door.ended(made[-1])
        quick = listen(server, "/v1/stream?events=st2.execution__*", door.token)
        last = create(door, "true")
        quick.until(lambda _, data: data["id"] == last and data["status"] == "succeeded")
        before = resident(server.pid)
        ends: dict[str, int] = {}

        def ended(name: str, data: Any) -> bool:
            if name == UPDATE and data["status"] == "succeeded":
                ends[data["id"]] = ends.get(data["id"], 0) + 1
            return bool(data["id"] == last and data["status"] == "succeeded")

        told = len(slow.until(ended))
        deadline = time.monotonic() + 20
        while set(made) - set(ends) and time.monotonic() < deadline:
            name, data = next(slow.events())
            ended(name, data)
            told += 1
        slow.close()
        quick.close()
        listed = door("GET", "/v1/executions?limit=-1&include_attributes=id,status").expect(200)
        assert len(listed.json()) == int(listed.headers["x-total-count"]) >= 511
        assert [one["id"] for one in listed.json()][:2] == [last, made[-1]]
        assert door("GET", "/v1/executions?limit=-1&user=nobody").expect(200).json() == []
    assert not set(made) - set(ends)
    assert set(ends.values()) == {1}
    assert told < 4 * len(made), "nothing was lost, so nothing was tested"
    assert before < 600 << 20


def resident(pid: int) -> int:
    """Return the bytes of memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_server_stops_with_listeners_that_do_not_read(own: Server, listen: Listen) -> None:
    server = own
    with server.api() as api:
        idle = [listen(server, "/v1/stream", server.token, buffer=4096) for _ in range(5)]
        Door(api).run("true")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    assert len(idle) == 5
    server.start()


# --- notifications ---


def test_notifications_go_to_every_route_of_the_sections_that_apply(
    door: Door, server: Server, listen: Listen
) -> None:
    door("PUT", "/v1/keys/greeting", {"value": "Hello"}).expect(200)
    notify = {
        "on-complete": {
            "message": "{{ st2kv.system.greeting }} {{ action_parameters.cmd }} by {{ action_context.user }}",
            "data": {"code": "{{ action_results.return_code }}"},
            "routes": ["all", "log"],
        },
        "on-success": {"routes": ["good"]},
        "on-failure": {"message": "{{ nothing.here }}", "channels": ["bad"]},
    }
    listener = listen(server, "/v1/stream?events=st2.trigger_instance__create", door.token)
    made = create(door, "exit 3", notify=notify)
    found: list[Any] = []
    for _, data in listener.events():
        found += [data] if data["payload"]["execution_id"] == made else []
        if len(found) == 3:
            break
    listener.close()
    by_route = {one["payload"]["route"]: one["payload"] for one in found}
    assert set(by_route) == {"all", "log", "bad"}
    payload = by_route["all"]
    assert payload["message"] == "Hello exit 3 by admin"
    assert payload["data"]["code"] == "3"
    assert json.loads(payload["data"]["result"])["return_code"] == 3
    assert (payload["status"], payload["action_ref"], payload["runner_ref"]) == (
        "failed",
        "core.local",
        "local-shell-cmd",
    )
    assert payload["channel"] == "all"
    assert by_route["bad"]["message"] == "{{ nothing.here }}"
    instance = door("GET", f"/v1/triggerinstances/{found[0]['id']}").expect(200).json()
    assert instance["trigger"] == "core.st2.generic.notifytrigger"
    listed = door("GET", "/v1/triggerinstances?trigger=core.st2.generic.notifytrigger&limit=3").expect(200)
    assert {one["id"] for one in listed.json()} == {one["id"] for one in found}
    history = door.history(made)
    assert [one["type"] for one in history].count("notification.sent") == 3
    assert "notification" not in [entry["status"] for entry in door.ended(made)["log"]]


def test_notify_of_the_action_replaces_that_of_the_request(door: Door) -> None:
    door("DELETE", "/v1/actions/default.loud")
    action = {
        "name": "loud",
        "runner_type": "noop",
        "notify": {"on-success": {"message": "mine", "routes": ["own"]}},
    }
    door("POST", "/v1/actions", action).expect(201)
    body = {"action": "default.loud", "notify": {"on-complete": {"routes": ["theirs"]}}}
    made = door("POST", "/v1/executions", body).expect(201).json()
    assert set(made["liveaction"]["notify"]) == {"on-success"}
    found = wait_for(lambda: [one for one in instances(door) if one["payload"]["execution_id"] == made["id"]])
    assert [(one["payload"]["route"], one["payload"]["message"]) for one in found] == [("own", "mine")]
    door("DELETE", "/v1/actions/default.loud").expect(204)


def test_notification_of_a_killed_server_is_sent_once_after_its_start(own: Server) -> None:
    server = own
    with server.api() as api:
        made = create(Door(api), "sleep 30", notify={"on-failure": {"routes": ["r"]}})
        wait_for(lambda: Door(api)("GET", f"/v1/executions/{made}").json()["status"] == "running")
        server.kill()
    server.start()
    with server.api() as api:
        door = Door(api)
        (one,) = wait_for(lambda: instances(door))
        assert (one["payload"]["execution_id"], one["payload"]["status"]) == (made, "abandoned")
        time.sleep(2.5)
        assert len(instances(door)) == 1


def test_callback_is_posted_until_it_is_taken_and_only_to_named_hosts(own: Server) -> None:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    port, server, taken = listening.server_address[1], own, Hook.taken
    try:
        with server.api() as api:
            door = Door(api)
            made = create(door, "echo done", callback={"url": f"http://127.0.0.1:{port}/hook", "token": "t"})
            refused = create(door, "echo done", callback={"url": f"http://localhost:{port}/hook"})
            wait_for(lambda: len(taken) >= 2, 20)
            wait_for(lambda: "callback.sent" in [one["type"] for one in door.history(made)])
            assert "callback.refused" in [one["type"] for one in door.history(refused)]
    finally:
        listening.shutdown()
        listening.server_close()
    assert [one["execution_id"] for one in taken] == [made, made]
    assert taken[1]["result"]["stdout"] == "done"
    assert taken[1]["callback"]["token"] == "t"


def instances(door: Door) -> list[Any]:
    """Return the newest trigger instances."""
    found: list[Any] = door("GET", "/v1/triggerinstances?limit=20").expect(200).json()
    return found


def wait_for(question: Callable[[], Any], seconds: float = 15) -> Any:
    """Ask again and again until there is an answer."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return answer
