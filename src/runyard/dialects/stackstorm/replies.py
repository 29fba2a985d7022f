"""Sends answers. Owns the encoder and the headers of the dialect's successes."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.jsons import encode_json

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_HELD_BYTES = 1 << 20
"""Of a list, before it is sent in pieces."""


def encode(document: object) -> bytes:
    """Return a document as compact JSON."""
    return encode_json(document)


def time_of(moment: datetime) -> str:
    """Write a time as the dialect does."""
    return moment.strftime(_FORMAT)


async def send_json(
    call: Call, document: object, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a document."""
    await send_answer(call, Answer(status, encode(document), headers=headers))


async def send_list(call: Call, items: Sequence[object], total: int, limit: int | None) -> None:
    """Send a list with the headers that count it."""
    await send_json(call, items, headers=_counted(total, limit))


def _counted(total: int, limit: int | None) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-total-count", str(total).encode())]
    if limit is not None:
        headers.append((b"x-limit", str(limit).encode()))
    return headers


async def send_parts(
    call: Call, parts: AsyncIterator[Sequence[bytes]], total: int, limit: int | None
) -> None:
    """Send a list of encoded items part by part, so that a long one is never held whole; a short one goes in one piece."""
    held, lead, counted = bytearray(), b"[", _counted(total, limit)
    async for items in parts:
        if items:
            held += lead + b",".join(items)
            lead = b","
        if len(held) > _HELD_BYTES:
            await _begin(call, counted)
            await call.send({"type": "http.response.body", "body": bytes(held), "more_body": True})
            held.clear()
    held += b"[]" if lead == b"[" else b"]"
    if call.started:
        await call.send({"type": "http.response.body", "body": bytes(held)})
    else:
        await send_answer(call, Answer(200, bytes(held), headers=counted))


async def _begin(call: Call, more: Sequence[tuple[bytes, bytes]]) -> None:
    if not call.started:
        call.started = True
        headers = [(b"x-request-id", call.request_id.encode()), (b"content-type", b"application/json")]
        await call.send({"type": "http.response.start", "status": 200, "headers": [*headers, *more]})


async def send_text(call: Call, body: bytes, kind: str = "text/plain; charset=UTF-8") -> None:
    """Send text."""
    await send_answer(call, Answer(200, body, kind))


async def start_text(call: Call, kind: str = "text/plain; charset=UTF-8") -> None:
    """Begin a text that is sent piece by piece, so that a long one is never held whole."""
    call.started = True
    headers = [(b"x-request-id", call.request_id.encode()), (b"content-type", kind.encode())]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    await send_answer(call, Answer(204, content_type=None))
