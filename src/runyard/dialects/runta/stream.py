"""The exec stream: one command over one WebSocket. Owns the frames, the heartbeat and how a conversation ends.

Refusals come before the upgrade as plain errors. After it, `exit` or `error` is the last frame, and then the socket is
closed; input that is still on its way is taken and dropped first, because a client in the middle of sending would see a
reset instead of the exit code.
"""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Collection
from typing import TypeAlias

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.runta.exec import DOOR
from runyard.dialects.runta.services import RuntaServices
from runyard.executions.output.model import Stream
from runyard.kernel.errors import InvalidArgument, RunyardError
from runyard.kernel.jsons import encode_json
from runyard.runtimes.requests import CommandRequest, Origin
from runyard.runtimes.resident import Resident
from runyard.runtimes.session import Session, SessionRequest

QUEUED_FRAMES = 32
"""Input frames on their way to a busy command; further ones wait in the socket."""
LATE_INPUT_SECS = 5.0
NORMAL, REFUSED = 1000, 1008

_HEARTBEAT = '{"type":"heartbeat"}'
_HEADS = {
    Stream.STDOUT: '{"type":"stdout","data_base64":"',
    Stream.STDERR: '{"type":"stderr","data_base64":"',
}


class Start(msgspec.Struct, tag_field="type", tag="start", kw_only=True):
    """The first frame: a program and its arguments; unknown fields are ignored."""

    command: str
    args: list[str] | None = None
    env: dict[str, str] | None = None
    tty: bool | None = None
    rows: int | None = None
    cols: int | None = None


class Input(msgspec.Struct, tag_field="type", tag="stdin"):
    """Bytes of input."""

    data_base64: str


class CloseInput(msgspec.Struct, tag_field="type", tag="close_stdin"):
    """The end of the input."""


class Signal(msgspec.Struct, tag_field="type", tag="signal"):
    """A signal for the command."""

    signal: str


class Resize(msgspec.Struct, tag_field="type", tag="resize"):
    """Another size of the terminal."""

    rows: int
    cols: int


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat"):
    """The client is there. Never answered: clients answer ours, and two that answer would not stop."""


Frame: TypeAlias = Start | Input | CloseInput | Signal | Resize | Heartbeat
_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


class StreamHandlers:
    """The WebSocket, and the refusal of a plain request to its path. Another door overrides its words."""

    door = DOOR
    signals: Collection[str] = frozenset({"INT", "TERM"})

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._commands = services.commands

    async def run(self, call: Call) -> None:
        """Hold one conversation."""
        by_name = "runtime" in call.params
        reference = call.params["runtime"] if by_name else call.params["runtime_id"]
        resident = await self._runtimes.resident(call.caller.scope, reference, names=by_name)
        await call.receive()  # the handshake itself
        await self._commands.ready(resident)
        with self._commands.slot(resident):
            call.started = True
            headers = [(b"x-request-id", call.request_id.encode())]
            with contextlib.suppress(OSError):  # the client may go at any moment, before the upgrade too
                await call.send({"type": "websocket.accept", "headers": headers})
                await _Conversation(call, self, self._commands.options.heartbeat_secs).hold(resident)

    def read_frame(self, raw: bytes) -> Frame:
        """Decode a frame of the client."""
        return _decoder.decode(raw)

    def session_of(self, start: Start) -> SessionRequest:
        """Return what the first frame asks for."""
        command = CommandRequest(argv=(start.command, *(start.args or ())), env=start.env or {})
        return SessionRequest(command=command, tty=bool(start.tty), rows=start.rows, columns=start.cols)

    def greeting(self, session: Session) -> str | None:  # noqa: ARG002  others show it
        """Return the frame that tells that the command was accepted, None when the dialect has none."""
        return None

    def farewell(self, session: Session) -> str:
        """Return the last frame of a command that ended."""
        return f'{{"type":"exit","code":{session.exit_code}}}'

    async def open(
        self, call: Call, resident: Resident, start: Start, conversation: "_Conversation"
    ) -> Session:
        """Start the command of a conversation."""
        origin = Origin(door=self.door, request_id=call.request_id)
        return await self._commands.open(
            call.caller, resident, self.session_of(start), origin, conversation.emit
        )

    async def refuse(self, call: Call) -> None:  # noqa: ARG002  a handler gets its call
        """Refuse a request without an upgrade."""
        raise InvalidArgument("exec/stream is a WebSocket: send an upgrade request")


class _Conversation:
    """The two sides of one accepted socket."""

    def __init__(self, call: Call, door: StreamHandlers, heartbeat_secs: float) -> None:
        self._call = call
        self._door = door
        self._heartbeat_secs = heartbeat_secs
        self._sending = asyncio.Lock()
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_FRAMES)
        self._input_closed = asyncio.Event()
        self._gone = False
        self._fault: str | None = None

    async def hold(self, resident: Resident) -> None:
        """Read the start, run the command, end properly."""
        try:
            start = await self._next()
            if start is None:
                return
            if not isinstance(start, Start):
                raise InvalidArgument("first websocket frame must be start")
            session = await self._door.open(self._call, resident, start, self)
            if start.tty:
                # Nobody closes the input of a terminal: waiting for late input would only hold up the goodbye.
                self._input_closed.set()
        except RunyardError as error:
            await self._close(encode_json({"type": "error", "message": error.message}).decode(), REFUSED)
            return
        sides = [
            asyncio.ensure_future(side)
            for side in (self._listen(session), self._feed(session), self._beat(session))
        ]
        try:
            assert session.handle is not None
            greeting = self._door.greeting(session)
            if greeting is not None:
                await self._send(greeting)
            await session.handle.finished()
            await self._end(session, sides[0])
        finally:
            session.give_up()
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def emit(self, stream: Stream, data: bytes) -> None:
        """Send output; returns when the socket has taken it."""
        await self._send(f'{_HEADS[stream]}{base64.b64encode(data).decode()}"}}')

    # --- from the client -------------------------------------------------------------------------------------------

    async def _next(self) -> Frame | None:
        """Return the next frame, None when the client is gone. Raises InvalidArgument for what is no frame."""
        message = await self._call.receive()
        if message["type"] != "websocket.receive":
            self._gone = True
            return None
        raw = message.get("text")
        try:
            return self._door.read_frame(raw.encode() if raw is not None else message["bytes"])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidArgument(f"malformed frame: {error}") from None

    async def _listen(self, session: Session) -> None:
        try:
            while (frame := await self._next()) is not None:
                await self._obey(session, frame)
        except RunyardError as error:
            self._fault = error.message
        session.give_up()

    async def _obey(self, session: Session, frame: Frame) -> None:
        match frame:
            case Start():
                raise InvalidArgument("the command was started already")
            case Input(data):
                try:
                    await self._input.put(base64.b64decode(data, validate=True))
                except (binascii.Error, ValueError):
                    raise InvalidArgument("data_base64 is not valid Base64") from None
            case CloseInput():
                self._input_closed.set()
                await self._input.put(None)
            case Signal(name):
                if name.upper().removeprefix("SIG") not in self._door.signals:
                    raise InvalidArgument(f"unsupported signal '{name[:40]}'")
                session.signal(name)
            case Resize(rows, cols):
                session.resize(rows, cols)
            case Heartbeat():
                pass

    async def _feed(self, session: Session) -> None:
        while True:
            data = await self._input.get()
            if data is None:
                await session.close_stdin()
            else:
                await session.write(data)

    # --- to the client ---------------------------------------------------------------------------------------------

    async def _send(self, text: str) -> None:
        async with self._sending:
            await self._call.send({"type": "websocket.send", "text": text})

    async def _beat(self, session: Session) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_secs)
            try:
                await self._send(_HEARTBEAT)
            except OSError:
                session.give_up()
                return

    async def _end(self, session: Session, listening: "asyncio.Task[None]") -> None:
        if self._gone:
            return
        if self._fault is not None or session.exit_code is None:
            reason = self._fault or (session.error.message if session.error else "the result is not known")
            await self._close(encode_json({"type": "error", "message": reason}).decode(), REFUSED)
            return
        await self._send(self._door.farewell(session))
        if not self._input_closed.is_set():
            closed = asyncio.ensure_future(self._input_closed.wait())
            await asyncio.wait(
                (closed, listening), timeout=LATE_INPUT_SECS, return_when=asyncio.FIRST_COMPLETED
            )
            closed.cancel()
        if not self._gone:
            await self._close(None, NORMAL)

    async def _close(self, last: str | None, code: int) -> None:
        if last is not None:
            await self._send(last)
        async with self._sending:
            await self._call.send({"type": "websocket.close", "code": code})
