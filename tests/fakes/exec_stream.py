"""The exec stream of the fake server: frames over a WebSocket, and the small functions that "run" behind it."""

import base64
import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from tests.fakes.native_server import NativeServer


class Session:
    """One exec stream, seen from the command's side."""

    def __init__(
        self, fake: "NativeServer", start: dict[str, Any], send: Callable[[dict[str, object]], None]
    ) -> None:
        """Take the start frame and the way back."""
        self.fake = fake
        self.start = start
        self.send = send
        self.frames: queue.Queue[dict[str, Any] | None] = queue.Queue()
        """Frames of the client after the start; None when the connection is gone."""

    def out(self, data: bytes, stream: str = "stdout") -> None:
        """Print something."""
        self.send({"type": stream, "data_base64": base64.b64encode(data).decode()})

    def next_frame(self, *wanted: str) -> dict[str, Any] | None:
        """Return the next frame of one of these types; None when the client left."""
        while (frame := self.frames.get(timeout=30)) is not None:
            if frame["type"] in wanted:
                return frame
        return None

    def stdin(self) -> bytes:
        """Return the whole input."""
        data = b""
        while (frame := self.next_frame("stdin", "close_stdin")) is not None and frame["type"] == "stdin":
            data += base64.b64decode(frame["data_base64"])
        return data


Program = Callable[[Session], int | dict[str, object] | None]
"""Returns an exit code, or the fields of the exit frame; None drops the connection without an exit."""


def _echo(session: Session) -> int:
    session.out(" ".join(session.start["args"]).encode() + b"\n")
    return 0


def _cat(session: Session) -> int:
    session.out(session.stdin())
    return 0


def _start(session: Session) -> int:
    """Print the start frame, so that a test sees what arrived."""
    session.out(json.dumps(session.start).encode())
    return 0


def _sleep(session: Session) -> int | None:
    """Run until a signal comes, which is printed; only KILL and TERM end it, and INT when it is the argument."""
    session.out(b"sleeping\n")
    while (frame := session.next_frame("signal")) is not None:
        name = frame["signal"]
        session.out(f"got {name}\n".encode())
        if name == "KILL":
            return 137
        if name in session.start["args"]:
            return 130
    session.fake.left.set()
    return None


def _missing(session: Session) -> int:
    session.out(b"missing: not found\n", "stderr")
    return 127


def _both(session: Session) -> int:
    session.out(b"out\n")
    session.out(b"err\n", "stderr")
    return 3


def _beat(session: Session) -> int:
    session.send({"type": "heartbeat"})
    return 0 if session.next_frame("heartbeat") else 1


PROGRAMS: dict[str, Program] = {
    "true": lambda _session: 0,
    "false": lambda _session: 1,
    "exit": lambda session: int(session.start["args"][0]),
    "missing": _missing,
    "slow": lambda _session: {"code": 124, "ended_by": "timeout", "reason": "timed out after 1 s"},
    "drop": lambda _session: None,
    "beat": _beat,
    "both": _both,
    "echo": _echo,
    "cat": _cat,
    "start": _start,
    "sleep": _sleep,
}


class ExecSocket:
    """The server's side of one exec stream."""

    def __init__(
        self, fake: "NativeServer", protocol: ServerProtocol, handler: BaseHTTPRequestHandler
    ) -> None:
        self.fake = fake
        self.protocol = protocol
        self.connection = handler.connection
        self.lock = threading.Lock()
        self.session: Session | None = None
        self.program: threading.Thread | None = None

    def run(self) -> None:
        """Read frames until the connection ends; the program runs in a thread beside."""
        self.flush()
        while data := self._receive():
            with self.lock:
                self.protocol.receive_data(data)
                events = self.protocol.events_received()
            self.flush()
            for event in events:
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    self.on_frame(json.loads(bytes(event.data)))
        if self.session is not None and self.program is not None:
            self.session.frames.put(None)
            self.program.join(30)

    def _receive(self) -> bytes:
        try:
            data: bytes = self.connection.recv(65536)
        except OSError:
            return b""
        return data

    def on_frame(self, frame: dict[str, Any]) -> None:
        """Start the program at the first frame, hand it all others."""
        if self.session is not None:
            self.session.frames.put(frame)
            return
        self.session = Session(self.fake, frame, self.send)
        self.program = threading.Thread(target=self.play, args=(self.session,), daemon=True)
        self.program.start()

    def play(self, session: Session) -> None:
        """Run the program and send its end."""
        execution_id = self.fake.add_execution(command=session.start["command"])
        self.send({"type": "started", "execution_id": execution_id})
        end = self.fake.programs[session.start["command"]](session)
        if end is not None:
            fields = end if isinstance(end, dict) else {"code": end}
            self.send({"type": "exit", "execution_id": execution_id, "duration_ms": 12.5, **fields})
            with self.lock:
                if self.protocol.state.name == "OPEN":
                    self.protocol.send_close(1000)
            self.flush()
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, frame: dict[str, object]) -> None:
        """Send a frame; a client that left is no failure of the fake."""
        with self.lock:
            if self.protocol.state.name == "OPEN":
                self.protocol.send_text(json.dumps(frame).encode())
        self.flush()

    def flush(self) -> None:
        """Write what the protocol wants written."""
        with self.lock:
            pending = self.protocol.data_to_send()
            try:
                for data in pending:
                    if data:
                        self.connection.sendall(data)
                    else:
                        self.connection.shutdown(socket.SHUT_WR)
            except OSError:
                return
