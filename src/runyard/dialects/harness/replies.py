"""Sends answers. Owns the encoder and the headers of the dialect's successes."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from runyard.dialects.door import Answer, Call, send_answer


def _plain(value: object) -> object:
    """Encode typed ids, which are texts of their own kinds."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(document: object) -> bytes:
    """Return a document as compact JSON."""
    return _encoder.encode(document)


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
