"""Sends answers. Owns the encoder and the headers of the dialect's successes."""

from collections.abc import Sequence
from datetime import datetime

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.jsons import encode_json


def encode(document: object) -> bytes:
    """Return a document as compact JSON."""
    return encode_json(document)


def millis(moment: datetime) -> int:
    """Return a time in whole milliseconds since 1970: clients refuse fractions."""
    return int(moment.timestamp() * 1000)


async def send_json(
    call: Call, document: object, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, encode(document), headers=headers))


async def send_text(call: Call, text: str) -> None:
    """Send plain text, to the letter: clients use it verbatim."""
    await send_answer(call, Answer(200, text.encode(), "text/plain; charset=utf-8"))


async def send_nothing(call: Call, status: int = 204) -> None:
    """Answer without a body."""
    await send_answer(call, Answer(status, content_type=None))
