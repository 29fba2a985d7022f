"""The exec stream: one command over one WebSocket with live input and output. Owns the frames; threads may share it.

Bytes travel as base64 in JSON text frames. Leaving early closes the connection, and the server kills the command then.
"""

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from runyard.client.errors import CommandEnded, ConnectionLost, InvalidAnswer
from runyard.client.http import Transport, is_loopback, problem_of, unreachable

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

STDIN_BLOCK = 64 * 1024
LARGEST_FRAME = 4 << 20
OPEN_SECONDS = 320.0
"""A handshake is held while the runtime comes up, up to five minutes."""


@dataclass(frozen=True)
class ExecStart:
    """What to run. Without `args`, `command` is a line for the shell."""

    command: str
    args: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    timeout_secs: int | None = None
    tty: bool = False
    rows: int | None = None
    cols: int | None = None

    def frame(self) -> dict[str, object]:
        """Return the first frame; what is not set is left out."""
        fields: dict[str, object] = {"type": "start", "command": self.command, "tty": self.tty}
        optional = {
            "args": None if self.args is None else list(self.args),
            "env": dict(self.env) or None,
            "cwd": self.cwd,
            "timeout_secs": self.timeout_secs,
            "rows": self.rows,
            "cols": self.cols,
        }
        return fields | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Started:
    """The server accepted the command."""

    execution_id: str | None


@dataclass(frozen=True)
class Printed:
    """The command printed something."""

    stream: str
    data: bytes


@dataclass(frozen=True)
class Ended:
    """The command is over."""

    exit_code: int
    ended_by: str | None = None
    reason: str | None = None
    execution_id: str | None = None
    duration_ms: float | None = None
    runtime_id: str | None = None


class ExecStream:
    """One running command. Sending is safe from any thread; `events` is for one thread."""

    def __init__(self, socket: "ClientConnection") -> None:
        """Take the open WebSocket."""
        self._socket = socket
        self.execution_id: str | None = None

    def events(self) -> Iterator[Started | Printed | Ended]:
        """Yield what happens until the command ends. Raises ConnectionLost, CommandEnded, InvalidAnswer."""
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                message = self._socket.recv()
            except ConnectionClosed as error:
                known = f" of execution {self.execution_id}" if self.execution_id else ""
                raise ConnectionLost(
                    f"the connection broke; how the command{known} ended is not known"
                ) from error
            event = self._read(message)
            if event is not None:
                yield event
            if isinstance(event, Ended):
                return

    def send_stdin(self, data: bytes) -> None:
        """Send input; it may be dropped when the command does not read it any more."""
        for start in range(0, len(data), STDIN_BLOCK):
            block = base64.b64encode(data[start : start + STDIN_BLOCK]).decode()
            self._send({"type": "stdin", "data_base64": block})

    def close_stdin(self) -> None:
        """Say that no more input comes."""
        self._send({"type": "close_stdin"})

    def signal(self, name: str) -> None:
        """Send a signal by its short name, e.g. `INT`, to the command and its group."""
        self._send({"type": "signal", "signal": name})

    def resize(self, rows: int, cols: int) -> None:
        """Tell the new size of the terminal, in cells."""
        self._send({"type": "resize", "rows": rows, "cols": cols})

    def close(self) -> None:
        """Close the connection; a command that still runs is killed by the server."""
        self._socket.close()

    def _send(self, frame: Mapping[str, object]) -> None:
        """Send one frame; a connection that is gone is reported by `events`, not here."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):
            self._socket.send(msgspec.json.encode(frame).decode())

    def _read(self, message: str | bytes) -> Started | Printed | Ended | None:
        """Turn a frame into an event; None for frames that need none, known or not."""
        try:
            frame = msgspec.json.decode(message, type=Frame)
            data = base64.b64decode(frame.data_base64, validate=True)
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidAnswer(f"a frame of the exec stream was not understood: {error}") from error
        self.execution_id = frame.execution_id or self.execution_id
        match frame.type:
            case "stdout" | "stderr":
                return Printed(frame.type, data)
            case "started":
                return Started(self.execution_id)
            case "heartbeat":
                self._send({"type": "heartbeat"})
            case "exit":
                return Ended(
                    exit_code=frame.code,
                    ended_by=frame.ended_by,
                    reason=frame.reason,
                    execution_id=self.execution_id,
                    runtime_id=frame.runtime_id,
                    duration_ms=frame.duration_ms,
                )
            case "error":
                raise CommandEnded(frame.message or "the server gave up on the command without a reason")
        return None


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Any frame of the server."""

    type: str
    data_base64: str = ""
    execution_id: str | None = None
    code: int = 0
    ended_by: str | None = None
    reason: str | None = None
    runtime_id: str | None = None
    duration_ms: float | None = None
    message: str | None = None


@contextmanager
def open_stream(transport: Transport, path: str, start: ExecStart) -> Iterator[ExecStream]:
    """Open the WebSocket, send the start frame, hand out the stream. Raises ApiError, Unreachable."""
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    address = f"ws{transport.url.removeprefix('http')}{path}"
    headers = transport.headers()
    agent = headers.pop("User-Agent")
    try:
        opening = connect(
            address,
            additional_headers=headers,
            user_agent_header=agent,
            # Output is mostly small frames on a near network: compressing costs more than it saves.
            compression=None,
            max_size=LARGEST_FRAME,
            open_timeout=OPEN_SECONDS,
            close_timeout=2.0,
            proxy=None if is_loopback(transport.url) else True,
        )
    except InvalidStatus as error:
        answer = error.response
        raise problem_of(answer.status_code, bytes(answer.body or b""), answer.headers) from error
    except (OSError, WebSocketException) as error:
        raise unreachable(error, transport.url) from error
    with opening as socket:
        socket.send(msgspec.json.encode(start.frame()).decode())
        yield ExecStream(socket)
