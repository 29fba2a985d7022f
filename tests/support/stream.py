"""A light client of the exec stream. Owns one WebSocket; decodes frames and judges nothing."""

import base64
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.server import Server


@dataclass
class Ended:
    """All that a stream said, until its end."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int | None = None
    error: str | None = None
    close_code: int | None = None
    largest: int = 0
    """Decoded bytes of the largest output frame."""
    others: list[dict[str, Any]] = field(default_factory=list)


class ExecStream:
    """One command over the stream of v1 or v2."""

    def __init__(self, server: Server, runtime: str, *, version: str = "v2", port: int | None = None) -> None:
        """Open the WebSocket. Raises websockets' InvalidStatus when the handshake is refused."""
        url = f"ws://127.0.0.1:{port or server.port}/{version}/runtimes/{runtime}/exec/stream"
        headers = {"Authorization": f"Bearer {server.token}"}
        opening = connect(
            url, additional_headers=headers, max_size=None, open_timeout=30, close_timeout=5, proxy=None
        )
        self._stack = contextlib.ExitStack()
        self.socket: ClientConnection = self._stack.enter_context(opening)
        self.seen = Ended()

    def __enter__(self) -> Self:
        """Use it as a context."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the WebSocket."""
        self._stack.close()

    def send(self, kind: str, **fields: object) -> None:
        """Send one frame."""
        self.socket.send(json.dumps({"type": kind, **fields}))

    def start(self, command: str, *args: str, **fields: object) -> Self:
        """Send the start frame."""
        self.send("start", command=command, args=list(args), **fields)
        return self

    def stdin(self, data: bytes, *, end: bool = False) -> None:
        """Send input, and close it when told so."""
        self.send("stdin", data_base64=base64.b64encode(data).decode())
        if end:
            self.send("close_stdin")

    def receive(self, timeout: float = 30) -> dict[str, Any] | None:
        """Take one frame into account and return it; None when the connection has ended."""
        try:
            text = self.socket.recv(timeout)
        except ConnectionClosed as closed:
            self.seen.close_code = closed.rcvd.code if closed.rcvd else None
            return None
        frame: dict[str, Any] = json.loads(text)
        kind = frame["type"]
        if kind in ("stdout", "stderr"):
            data = base64.b64decode(frame["data_base64"], validate=True)
            self.seen.largest = max(self.seen.largest, len(data))
            setattr(self.seen, kind, getattr(self.seen, kind) + data)
        elif kind == "exit":
            self.seen.code = frame["code"]
        elif kind == "error":
            self.seen.error = frame["message"]
        else:
            self.seen.others.append(frame)
        return frame

    def until(self, marker: bytes, timeout: float = 30) -> Ended:
        """Read until standard output holds a marker."""
        while marker not in self.seen.stdout:
            assert self.receive(timeout) is not None, f"ended before {marker!r}: {self.seen}"
        return self.seen

    def finish(self, timeout: float = 30) -> Ended:
        """Read to the end of the connection."""
        while self.receive(timeout) is not None:
            pass
        return self.seen


def run_stream(server: Server, runtime: str, command: str, *args: str, version: str = "v2") -> Ended:
    """Run one command without input over the stream and return all that it said."""
    with ExecStream(server, runtime, version=version) as stream:
        stream.start(command, *args)
        stream.send("close_stdin")
        return stream.finish()
