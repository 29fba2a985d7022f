"""Sends answers. Owns the encoder and the dialect's way to write a time."""

from datetime import UTC, datetime

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.jsons import encode_json


def encode(document: object) -> bytes:
    """Return a document as compact JSON."""
    return encode_json(document)


def time_of(moment: datetime) -> str:
    """Write a time as the dialect does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def send_json(call: Call, document: object, status: int = 200) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, encode(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))
