"""Sends answers of the native API. Owns its encoder and the headers of its successes."""

from typing import Any

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.jsons import encode_json


async def send_json(call: Call, document: Any, status: int = 200) -> None:  # noqa: ANN401  any encodable document
    """Encode and send a document."""
    await send_answer(call, Answer(status, encode_json(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))


def encode(document: Any) -> bytes:  # noqa: ANN401  any encodable document
    """Encode a document as this API does."""
    return encode_json(document)
