"""A light HTTP client for wire tests. Owns one keep-alive connection a client; follows nothing, retries nothing."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

IDLE_SECONDS = 30.0
"""A connection that lay longer is opened anew: the server closes it after 75 s, perhaps while a request is on its way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """Return the member `data` of the envelope."""
        return self.json()["data"]

    @property
    def error(self) -> tuple[str, str]:
        """Return code and message of the dialect's error envelope."""
        error = self.json()["error"]
        return error["code"], error["message"]

    def expect(self, status: int) -> Self:
        """Assert the status, showing the body when it differs."""
        assert self.status == status, f"{self.status} instead of {status}: {self.body[:2000]!r}"
        return self


class Api:
    """Calls to one server with one token. Not for threads: give each its own by `clone`."""

    def __init__(self, host: str, port: int, token: str | None, timeout: float = 60.0) -> None:
        """Remember where to go; connects at the first call."""
        self.host, self.port, self.token, self.timeout = host, port, token, timeout
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def clone(self, token: str | None = None, timeout: float | None = None) -> "Api":
        """Make a client of its own connection, with the same token unless another is given."""
        return Api(self.host, self.port, token or self.token, timeout or self.timeout)

    def anonymous(self) -> "Api":
        """Make a client without a token."""
        return Api(self.host, self.port, None, self.timeout)

    def __enter__(self) -> Self:
        """Use it as a context that closes the connection."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the connection."""
        self.close()

    def __del__(self) -> None:
        """Close what a short-lived client left open; an unclosed socket would be a warning, which is an error."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer. Bytes go raw, any other body as JSON."""
        sent = {**self.authorization, **(headers or {})}
        payload: bytes | None = None
        if isinstance(body, bytes | bytearray):
            payload = bytes(body)
            sent.setdefault("Content-Type", "application/octet-stream")
        elif body is not None:
            payload = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        if time.monotonic() - self._used > IDLE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._connection.request(method, path, payload, sent)
            response = self._connection.getresponse()
            content = response.read()
            self._used = time.monotonic()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if response.will_close:
            self.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    @property
    def authorization(self) -> dict[str, str]:
        """Return the header of the token, or nothing."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str) -> Answer:
        """GET a path."""
        return self.request("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST a JSON document, or nothing."""
        return self.request("POST", path, body)

    def put(self, path: str, body: Any = None) -> Answer:
        """PUT a JSON document or bytes."""
        return self.request("PUT", path, body)

    def patch(self, path: str, body: Any = None) -> Answer:
        """PATCH with a JSON document."""
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        """DELETE a path."""
        return self.request("DELETE", path)

    def create(self, **fields: object) -> dict[str, Any]:
        """Create a runtime through v1 and return it."""
        created: dict[str, Any] = self.post("/v1/runtimes", fields).expect(200).data
        return created

    def exec(
        self, runtime: str, command: str, args: list[str] | None = None, **fields: object
    ) -> dict[str, Any]:
        """Run a command through v1 buffered exec and return its result; a shell string without `args`."""
        body: dict[str, object] = {"command": command, **fields}
        if args is not None:
            body["args"] = args
        result: dict[str, Any] = self.post(f"/v1/runtimes/{quote(runtime)}/exec", body).expect(200).data
        return result

    def sh(self, runtime: str, script: str, **fields: Any) -> str:
        """Run a shell string that must succeed and return its standard output."""
        result = self.exec(runtime, script, **fields)
        assert result["exit_code"] == 0, result
        return str(result["stdout"])

    def read_file(self, runtime: str, path: str) -> Answer:
        """GET one file of a runtime."""
        return self.get(f"/v1/runtimes/{runtime}/files?path={quote(path, safe='')}")

    def write_file(self, runtime: str, path: str, content: bytes) -> Answer:
        """PUT one file of a runtime."""
        return self.put(f"/v1/runtimes/{runtime}/files?path={quote(path, safe='')}", content)
