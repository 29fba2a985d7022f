"""The native exec stream: the Runta frames, and more words.

The start frame may leave `args` out (a line for the shell) and carry `cwd` and `timeout_secs`; more signals are
understood; `started` names the execution, and `exit` says who ended it, where, and how long it took.
"""

from typing import Final

import msgspec

from runyard.dialects.runta.stream import (
    CloseInput,
    Frame,
    Heartbeat,
    Input,
    Resize,
    Signal,
    Start,
    StreamHandlers,
)
from runyard.runtimes.requests import CommandRequest
from runyard.runtimes.session import SIGNALS, Session, SessionRequest
from runyard.server.native.replies import encode
from runyard.server.native.runtimes import DOOR


class NativeStart(Start, tag_field="type", tag="start", kw_only=True):
    """The first frame."""

    cwd: str | None = None
    timeout_secs: int | None = None


_Frame = NativeStart | Input | CloseInput | Signal | Resize | Heartbeat
_decoder: Final[msgspec.json.Decoder[Frame]] = msgspec.json.Decoder(_Frame)


class NativeStreamHandlers(StreamHandlers):
    """The WebSocket of the command line."""

    door = DOOR
    signals = frozenset(SIGNALS)

    def read_frame(self, raw: bytes) -> Frame:
        """Decode a frame of the client."""
        return _decoder.decode(raw)

    def session_of(self, start: Start) -> SessionRequest:
        """Return what the first frame asks for."""
        more = start if isinstance(start, NativeStart) else NativeStart(command=start.command)
        command = CommandRequest(
            argv=() if start.args is None else (start.command, *start.args),
            script=start.command if start.args is None else None,
            cwd=more.cwd,
            env=start.env or {},
            timeout_secs=more.timeout_secs,
        )
        return SessionRequest(command=command, tty=bool(start.tty), rows=start.rows, columns=start.cols)

    def greeting(self, session: Session) -> str | None:
        """Name the execution."""
        return _text({"type": "started", "execution_id": _execution_id(session)})

    def farewell(self, session: Session) -> str:
        """Tell the exit status, who ended it and how long it took."""
        frame: dict[str, object] = {
            "type": "exit",
            "code": session.exit_code,
            "ended_by": None if session.ended_by is None else session.ended_by.value,
            "execution_id": _execution_id(session),
            "runtime_id": session.runtime_id,
            "duration_ms": session.duration_ms,
        }
        return _text(frame)


def _execution_id(session: Session) -> str | None:
    return None if session.handle is None else session.handle.execution.id


def _text(frame: dict[str, object]) -> str:
    return encode(frame).decode()
