"""Sends answers of the native API. Owns its encoder and the headers of its successes."""

from typing import Any

import msgspec

from runyard.dialects.door import Answer, Call, send_answer


def _plain(value: object) -> str:
    """Encode typed ids, which are texts of their own kinds."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


async def send_json(call: Call, document: Any, status: int = 200) -> None:  # noqa: ANN401  any encodable document
    """Encode and send a document."""
    await send_answer(call, Answer(status, _encoder.encode(document)))


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))


def encode(document: Any) -> bytes:  # noqa: ANN401  any encodable document
    """Encode a document as this API does."""
    return _encoder.encode(document)
