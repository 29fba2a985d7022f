"""A fake Runyard server that speaks the native API on loopback. Owns just enough state to drive the client and the CLI.

Commands are small Python functions by name, so a test decides what "runs". Faults are switches: a dropped connection,
a slow answer, an error. It keeps every request for a test to look at.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.fakes.exec_stream import PROGRAMS, ExecSocket

BASE = "/runyard/v1"
TOKEN = "ry_fake_token"
NOW = "2026-01-31T08:00:00Z"
RUNTIME_ID = "01900000-0000-7000-8000-00000000{:04x}"
EXECUTION_ID = "6745a2f09b1c8e5d3f7a{:04x}"


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


@dataclass
class Log:
    """The output of one execution: chunks of (stream, bytes), and how often a reader's connection is cut."""

    chunks: list[tuple[str, bytes]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """Each live connection ends after so many chunks; when the list is used up, connections live."""
    open: bool = False
    """The execution still runs: a live reader waits after the last chunk."""
    ends: dict[str, object] = field(default_factory=dict)
    """What becomes of the execution when a live reader came to the end."""

    def placed(self) -> list[dict[str, object]]:
        """Return the chunks as the wire has them."""
        placed: list[dict[str, object]] = []
        offset = 0
        for stream, data in self.chunks:
            encoded = base64.b64encode(data).decode()
            placed.append({"offset": offset, "stream": stream, "time": NOW, "data_base64": encoded})
            offset += len(data)
        return placed

    @property
    def size(self) -> int:
        """Return the bytes of the whole log."""
        return sum(len(data) for _, data in self.chunks)


class NativeServer:
    """The server; use with `with`."""

    def __init__(self) -> None:
        """Listen on a free loopback port."""
        self.seen: list[Seen] = []
        self.runtimes: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, dict[str, Any]] = {}
        self.checkpoints: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.projects: dict[str, dict[str, Any]] = {}
        self.users: list[dict[str, Any]] = []
        self.integrations: dict[str, dict[str, Any]] = {}
        self.workspaces: dict[str, dict[str, Any]] = {}
        self.action_roles: dict[str, Any] = {"roles": [], "assignments": []}
        self.images: dict[str, dict[str, Any]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.logs: dict[str, Log] = {}
        self.failures: list[tuple[int, dict[str, object]]] = []
        """The next answers are these: (status, problem fields)."""
        self.page_size = 1000
        self.creating_reads = 0
        """So many reads of a new runtime say `creating` before it is running."""
        self.left = threading.Event()
        """A client left a sleeping command."""
        self.hold = False
        """Requests are read and then not answered, until this is unset and beyond."""
        self.held = threading.Event()
        """A request is being held."""
        self.programs = dict(PROGRAMS)
        self._http = Listener(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """Return the base address."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def token(self) -> str:
        """Return the only token that is accepted."""
        return TOKEN

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def paths(self, method: str) -> list[str]:
        """Return the paths that were asked with a method."""
        return [one.path for one in self.seen if one.method == method]

    def add_runtime(self, name: str = "web", **fields: object) -> dict[str, Any]:
        """Put a runtime in."""
        runtime_id = RUNTIME_ID.format(len(self.runtimes) + 1)
        one: dict[str, Any] = {
            "id": runtime_id,
            "name": name,
            "status": "running",
            "created_at": NOW,
            "revision": 1,
        }
        self.runtimes[runtime_id] = one | {"memory_mib": 1024, "vcpus": 1, "egress": "open", **fields}
        return self.runtimes[runtime_id]

    def add_execution(self, *chunks: tuple[str, bytes], **fields: object) -> str:
        """Put an execution with output in and return its id."""
        execution_id = EXECUTION_ID.format(len(self.executions) + 1)
        one: dict[str, Any] = {"id": execution_id, "kind": "exec", "status": "succeeded", "command": "make"}
        one |= {"exit_code": 0, "created_at": NOW, "started_at": NOW, "duration_ms": 1500.0, "actor": "admin"}
        self.executions[execution_id] = one | fields
        self.logs[execution_id] = Log(list(chunks))
        return execution_id


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Take what the problem document says."""
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def _find(table: dict[str, dict[str, Any]], noun: str, name: str) -> dict[str, Any]:
    """Find by id or name."""
    for one in table.values():
        if name in (one["id"], one.get("name")):
            return one
    raise Refusal(404, "not_found", f"{noun} '{name}' not found")


class Listener(ThreadingHTTPServer):
    """A listening socket that knows its fake."""

    daemon_threads = True

    def __init__(self, fake: NativeServer) -> None:
        """Take a free loopback port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.fake = fake


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def fake(self) -> NativeServer:
        """Return the fake that listens."""
        assert isinstance(self.server, Listener)
        return self.server.fake

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer."""
        self.answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def answer(self) -> None:
        """Read the request, keep it, route it."""
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, unquote(parts.path), query, headers, self.read_body())
        self.fake.seen.append(seen)
        if self.fake.hold:
            self.fake.held.set()
            self.connection.settimeout(30)
            with contextlib.suppress(OSError):
                self.rfile.read(1)
            self.close_connection = True
            return None
        try:
            if self.fake.failures:
                status, fields = self.fake.failures.pop(0)
                return self.send(status, fields, {"Retry-After": str(fields.get("retry_after", 0))})
            if headers.get("authorization") != f"Bearer {TOKEN}":
                raise Refusal(401, "unauthenticated", "the credential is missing or not valid")
            if headers.get("upgrade") == "websocket":
                return self.serve_socket(seen)
            if seen.path.endswith("/live"):
                return self.serve_live(seen)
            status, body = Routes(self.fake, seen).answer()
            return self.send(status, body)
        except Refusal as refusal:
            problem = {"type": "about:blank", "title": refusal.code, "status": refusal.status}
            problem |= {"code": refusal.code, "detail": refusal.detail, "request_id": "req-1"}
            return self.send(refusal.status, problem)

    def read_body(self) -> bytes:
        """Read the body, chunked or not."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Send JSON, or bytes as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def serve_live(self, seen: Seen) -> None:
        """Send the log as server-sent events from where the reader is; cut the connection as told."""
        execution = _find(self.fake.executions, "execution", seen.path.split("/")[4])
        log = self.fake.logs[execution["id"]]
        offset = int(seen.headers.get("last-event-id", seen.query.get("offset", "0")))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        cut = log.cuts.pop(0) if log.cuts else None
        sent = 0
        self.wfile.write(b": hello\n\n")
        for (stream, data), chunk in zip(log.chunks, log.placed(), strict=True):
            start = chunk["offset"]
            assert isinstance(start, int)
            if start + len(data) <= offset or seen.query.get("stream") not in (None, stream):
                continue
            if sent == cut:
                return
            text = f"event: output\nid: {start + len(data)}\ndata: {json.dumps(chunk)}\n\n"
            self.wfile.write(text.encode())
            sent += 1
        self.wfile.flush()
        if cut is None and log.open:
            self.fake.left.wait(30)
        elif cut is None:
            execution.update(log.ends)
            self.wfile.write(f"event: end\ndata: {json.dumps(execution)}\n\n".encode())

    def serve_socket(self, seen: Seen) -> None:
        """Run a program over a WebSocket."""
        _find(self.fake.runtimes, "runtime", seen.path.split("/")[4])
        self.close_connection = True
        protocol = ServerProtocol()
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        protocol.receive_data(f"{self.requestline}\r\n{lines}\r\n".encode())
        request = protocol.events_received()[0]
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        ExecSocket(self.fake, protocol, self).run()


class Routes:
    """The answers, one method a noun."""

    def __init__(self, fake: NativeServer, seen: Seen) -> None:
        """Take one request."""
        self.fake, self.seen = fake, seen
        self.rest = [part for part in seen.path.removeprefix(BASE).split("/") if part]

    def answer(self) -> tuple[int, object]:
        """Route by the first segment."""
        nouns: dict[str, Callable[[], tuple[int, object]]] = {
            "runtimes": self.runtimes,
            "checkpoints": self.checkpoints,
            "executions": self.executions,
            "images": self.images,
            "secrets": self.secrets,
            "projects": self.projects,
            "tokens": self.tokens,
            "users": self.users,
            "action-roles": self.action_roles,
            "integrations": self.integrations,
            "workspaces": self.workspaces,
            "health": lambda: (200, {"status": "ready", "version": "9.9.9", "checks": []}),
        }
        return nouns[self.rest[0]]()

    def page(self, items: list[dict[str, Any]]) -> tuple[int, object]:
        """Return one page of a list."""
        start = int(self.seen.query.get("cursor", "0"))
        end = start + min(int(self.seen.query.get("limit", "100")), self.fake.page_size)
        more = str(end) if end < len(items) else None
        return 200, {"items": items[start:end], "next_cursor": more}

    def runtimes(self) -> tuple[int, object]:
        """Serve runtimes."""
        fake, seen = self.fake, self.seen
        if len(self.rest) == 1:
            if seen.method == "GET":
                wanted = seen.query.get("status", "").split(",") if "status" in seen.query else None
                return self.page(
                    [one for one in fake.runtimes.values() if wanted is None or one["status"] in wanted]
                )
            fields = seen.json()
            fields.pop("secrets", None)
            status = "creating" if fake.creating_reads else "running"
            return 201, fake.add_runtime(**{"name": f"r{len(fake.runtimes) + 1}", **fields, "status": status})
        one = _find(fake.runtimes, "runtime", self.rest[1])
        if len(self.rest) == 2 and seen.method == "GET":
            if fake.creating_reads:
                fake.creating_reads -= 1
                return 200, one
            one["status"] = "running" if one["status"] == "creating" else one["status"]
            return 200, one
        if len(self.rest) == 2:
            del fake.runtimes[one["id"]]
            return 204, None
        return self.in_runtime(one)

    def in_runtime(self, one: dict[str, Any]) -> tuple[int, object]:
        """Serve what hangs below one runtime."""
        fake, seen, verb = self.fake, self.seen, self.rest[2]
        if verb == "files":
            key = (one["id"], seen.query["path"])
            if seen.method == "PUT":
                fake.files[key] = seen.body
                return 204, None
            if key not in fake.files:
                raise Refusal(404, "not_found", f"no such file: {key[1]}")
            return 200, fake.files[key]
        if verb == "checkpoints":
            name = seen.json().get("name") or f"{one['name']}-1"
            checkpoint = {"id": RUNTIME_ID.format(0xC0), "name": name, "state": "ready", "created_at": NOW}
            fake.checkpoints[str(checkpoint["id"])] = checkpoint | {"runtime_name": one["name"]}
            return 201, checkpoint
        if verb == "exec":
            return 200, {"exit_code": 0, "stdout": seen.json()["command"], "duration_ms": 1.5}
        if one["status"] == "shutdown" and verb == "pause":
            raise Refusal(409, "failed_precondition", f"runtime '{one['name']}' is shutdown")
        one["status"] = {"start": "running", "stop": "shutdown", "pause": "paused", "resume": "running"}[verb]
        return 200, one

    def checkpoints(self) -> tuple[int, object]:
        """Serve checkpoints."""
        if len(self.rest) == 1:
            return self.page(list(self.fake.checkpoints.values()))
        one = _find(self.fake.checkpoints, "checkpoint", self.rest[1])
        if self.seen.method == "DELETE":
            del self.fake.checkpoints[one["id"]]
            return 204, None
        return 200, one

    def images(self) -> tuple[int, object]:
        """Serve bases."""
        if self.seen.method == "POST":
            fields = self.seen.json()
            image = {"name": fields["name"], "kind": "image", "digest": "sha256:00", "created_at": NOW}
            self.fake.images[fields["name"]] = image | {"size_bytes": 2048, "default": False}
            return 201, self.fake.images[fields["name"]]
        if self.seen.method == "DELETE":
            name = "/".join(self.rest[1:])
            if self.fake.images.pop(name, None) is None:
                raise Refusal(404, "not_found", f"there is no image '{name}'")
            return 204, None
        host = {"name": "host", "kind": "host", "digest": None, "created_at": None, "default": True}
        return 200, {"items": [host, *self.fake.images.values()], "next_cursor": None}

    def secrets(self) -> tuple[int, object]:
        """Serve secrets; values are only kept for the test."""
        known, seen = self.fake.secrets, self.seen
        if len(self.rest) == 1:
            return 200, {"items": list(known.values()), "next_cursor": None}
        if seen.method == "PUT":
            name = self.rest[1]
            known[name] = {"id": RUNTIME_ID.format(0x5E), "name": name, "created_at": NOW, "updated_at": NOW}
            return 200, known[name]
        one = _find(known, "secret", self.rest[1])
        if seen.method == "DELETE":
            del known[one["name"]]
            return 204, None
        return 200, one

    def projects(self) -> tuple[int, object]:
        """Serve the tree."""
        known, seen = self.fake.projects, self.seen
        if seen.method == "POST":
            given = seen.json()
            path = f"{given.get('parent', '')}/{given['slug']}".lstrip("/")
            known[path] = {"id": EXECUTION_ID.format(0x80 + len(known)), "path": path, "slug": given["slug"]}
            return 201, known[path]
        if seen.method == "DELETE":
            if known.pop("/".join(self.rest[1:]), None) is None:
                raise Refusal(404, "not_found", "there is no such project")
            return 204, None
        return 200, {"items": [{"id": "0" * 24, "path": "/", "slug": "global"}, *known.values()]}

    def users(self) -> tuple[int, object]:
        """Serve users."""
        if self.seen.method == "POST":
            given = self.seen.json()
            made = {
                "id": EXECUTION_ID.format(0x90),
                "name": given["name"],
                "kind": given["kind"],
                "created_at": NOW,
            }
            self.fake.users.append(made)
            return 201, made
        return 200, {"items": self.fake.users}

    def integrations(self) -> tuple[int, object]:
        """Serve integrations; a credential is only counted."""
        known = self.fake.integrations
        if self.seen.method == "POST":
            given = self.seen.json()
            one = {name: given[name] for name in ("name", "type", "url", "username") if name in given}
            one |= {"id": EXECUTION_ID.format(0xA0 + len(known)), "created_at": NOW}
            one["url"] = one.get("url", "https://github.com")
            known[one["id"]] = {**one, "has_credential": "password" in given or "ssh_key" in given}
            return 201, known[one["id"]]
        if self.seen.method == "DELETE":
            del known[self.rest[1]]
            return 204, None
        return 200, {"items": list(known.values())}

    def workspaces(self) -> tuple[int, object]:
        """Serve workspaces, to read; lists go by offset."""
        if len(self.rest) == 2:
            return 200, _find(self.fake.workspaces, "workspace", self.rest[1])
        start = int(self.seen.query["offset"])
        return 200, {
            "items": list(self.fake.workspaces.values())[start : start + int(self.seen.query["limit"])]
        }

    def action_roles(self) -> tuple[int, object]:
        """Serve roles of actions."""
        if self.seen.method == "PUT":
            self.fake.action_roles = self.seen.json()
        return 200, self.fake.action_roles

    def tokens(self) -> tuple[int, object]:
        """Serve tokens."""
        if self.seen.method == "POST":
            token = {"id": EXECUTION_ID.format(0x70), "name": self.seen.json()["name"], "created_at": NOW}
            self.fake.tokens[str(token["id"])] = token
            return 201, {"token": token, "secret": "ry_made_secret"}
        if len(self.rest) == 1:
            return self.page(list(self.fake.tokens.values()))
        del self.fake.tokens[_find(self.fake.tokens, "token", self.rest[1])["id"]]
        return 204, None

    def executions(self) -> tuple[int, object]:
        """Serve executions."""
        if len(self.rest) == 1:
            newest = list(reversed(self.fake.executions.values()))
            if "status" in self.seen.query:
                newest = [one for one in newest if one["status"] in self.seen.query["status"].split(",")]
            return self.page(newest)
        one = _find(self.fake.executions, "execution", self.rest[1])
        verb = "/".join(self.rest[2:])
        if verb == "cancel":
            one["status"] = "canceling"
        if verb == "history":
            return 200, {"items": [{"type": "started", "time": NOW, "actor": "admin"}], "next_cursor": None}
        if verb == "output":
            return self.output(self.fake.logs[one["id"]])
        if verb == "output/search":
            return self.search(self.fake.logs[one["id"]])
        return 200, one

    def output(self, log: Log) -> tuple[int, object]:
        """Serve one chunk a page, so that reading has to go on."""
        offset = int(self.seen.query["offset"])
        for chunk, (stream, data) in zip(log.placed(), log.chunks, strict=True):
            start = chunk["offset"]
            assert isinstance(start, int)
            if start >= offset and self.seen.query.get("stream") in (None, stream):
                end = start + len(data)
                return 200, {"items": [chunk], "next_offset": end if end < log.size else None}
        return 200, {"items": [], "next_offset": None}

    def search(self, log: Log) -> tuple[int, object]:
        """Search by lines."""
        text = self.seen.query["text"]
        fold = self.seen.query["ignore_case"] == "true"
        lines = b"".join(data for _, data in log.chunks).decode().splitlines()
        hits: list[dict[str, object]] = [
            {"line": line, "line_number": number, "offset": 0}
            for number, line in enumerate(lines, start=1)
            if (text.lower() in line.lower() if fold else text in line)
        ]
        limit = int(self.seen.query["limit"])
        return 200, {"total": len(hits), "hits": hits[:limit], "next_cursor": None}
