"""Sends answers. Owns the encoder and the projection of lists."""

from collections.abc import Sequence
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


async def send_projected(call: Call, items: Sequence[msgspec.Struct], fields: Sequence[str] | None) -> None:
    """Send a list, of each item the wanted members and its id; everything when none is wanted."""
    if not fields:
        await send_json(call, items)
        return
    wanted = {ALWAYS, *fields}
    whole: list[dict[str, Any]] = msgspec.to_builtins(items, enc_hook=_plain)
    await send_json(call, [{name: one[name] for name in one.keys() & wanted} for one in whole])


async def send_json(call: Call, document: object, status: int = 200) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, _encoder.encode(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))
