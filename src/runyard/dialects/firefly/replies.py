"""Sends answers. Owns the encoder and the projection of lists."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.jsons import builtins_of, encode_json

ALWAYS: Final = "id"
"""The member that every projection keeps."""


async def send_projected(call: Call, items: Sequence[msgspec.Struct], fields: Sequence[str] | None) -> None:
    """Send a list, of each item the wanted members and its id; everything when none is wanted."""
    if not fields:
        await send_json(call, items)
        return
    wanted = {ALWAYS, *fields}
    whole: list[dict[str, Any]] = builtins_of(items)
    await send_json(call, [{name: one[name] for name in one.keys() & wanted} for one in whole])


async def send_json(call: Call, document: object, status: int = 200) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, encode_json(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))
