"""Sends answers. Owns the encoder, the form of times and the projection of lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.dialects.door import Answer, Call, send_answer

ALWAYS: Final = "id"
"""The member that every projection keeps."""


def _plain(value: object) -> object:
    """Encode typed ids, which are texts of their own kinds."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def time_of(moment: datetime | None) -> str | None:
    """Write a time in UTC with milliseconds."""
    return (
        None if moment is None else f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03}Z"
    )


def projected(
    items: Sequence[Mapping[str, Any]], fields: Sequence[str] | None
) -> Sequence[Mapping[str, Any]]:
    """Keep the wanted members of each item, and its id; everything when none is wanted."""
    if not fields:
        return items
    wanted = {ALWAYS, *fields}
    return [{name: value for name, value in item.items() if name in wanted} for item in items]


async def send_json(call: Call, document: object, status: int = 200) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, _encoder.encode(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))
