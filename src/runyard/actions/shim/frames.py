"""The server's side of the line to an action's process. Owns the frames; carries and grants nothing.

What comes from the process is the word of a stranger: a frame that is too long or not of a known shape ends the
conversation, never the server.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from runyard.actions.values import Json
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.jsons import encode_json

MAX_FRAME: Final = 16 << 20
"""Bytes of one line, which bounds the result of an action."""
CALLS: Final = frozenset(
    {
        "action.run",
        "datastore.delete",
        "datastore.get",
        "datastore.list",
        "datastore.set",
        "trigger.dispatch",
        "user.info",
    }
)
"""What a process may ask for."""


class BrokenFrame(InvalidArgument):
    """The action's process sent something that is not a frame."""

    code = "broken_frame"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame to the process: what to run."""

    entry_point: str
    """The path of the file as the process sees it."""
    pack: str
    action: str
    """The reference of the action."""
    parameters: Mapping[str, Json]
    config: Mapping[str, Json]
    log_level: str = "DEBUG"


class Call(msgspec.Struct, frozen=True):
    """The process asks for something and waits for the answer."""

    id: int
    name: str
    arguments: Mapping[str, Json]


class Returned(msgspec.Struct, frozen=True):
    """The action ended and returned; `success` is None when it did not say."""

    result: Json
    success: bool | None


class Refused(msgspec.Struct, frozen=True):
    """The action ended, and what it returned cannot be its result."""

    error: str
    traceback: str


class Handler(Protocol):
    """What answers the calls of a process."""

    async def __call__(self, call: Call) -> Json:
        """Return the value for the process. Raises a RunyardError whose message the process gets."""
        ...


class _Frame(msgspec.Struct):
    """Every frame of a process; which members are there tells its kind."""

    id: int | None = None
    call: str | None = None
    arguments: dict[str, Json] = {}
    result: Json = msgspec.UNSET
    success: bool | None = None
    error: str | None = None
    traceback: str = ""


_decoder = msgspec.json.Decoder(_Frame)


def encode_start(start: Start) -> bytes:
    """Return the line that starts an action."""
    return encode_json({"start": start}) + b"\n"


def encode_value(call: Call, value: Json) -> bytes:
    """Return the line that answers a call."""
    return encode_json({"id": call.id, "value": value}) + b"\n"


def encode_error(call: Call, message: str) -> bytes:
    """Return the line that refuses a call."""
    return encode_json({"id": call.id, "error": message}) + b"\n"


def decode(line: bytes) -> Call | Returned | Refused:
    """Read a line of the process. Raises BrokenFrame."""
    if len(line) > MAX_FRAME:
        raise BrokenFrame(f"the action sent more than {MAX_FRAME} bytes at once")
    try:
        frame = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BrokenFrame from None
    if frame.call is not None:
        if frame.call not in CALLS or frame.id is None:
            raise BrokenFrame("the action asked for something that does not exist")
        return Call(frame.id, frame.call, frame.arguments)
    if frame.error is not None:
        return Refused(frame.error, frame.traceback)
    if frame.result is msgspec.UNSET:
        raise BrokenFrame
    return Returned(frame.result, frame.success)
