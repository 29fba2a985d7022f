"""Sends bodies that come in pieces, for all doors, so that no answer has to be whole in memory."""

from collections.abc import AsyncIterator, Sequence

from runyard.dialects.door import Call


async def send_pieces(
    call: Call, size: int | None, body: AsyncIterator[bytes], headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Send a body as 200, of a size that is known or None. Its first piece is read before anything is said, so that what cannot be read at
    all is still an error of the dialect and no broken answer.
    """
    first = await anext(body, b"")
    call.started = True
    head = [(b"x-request-id", call.request_id.encode()), *headers]
    if size is not None:
        head.append((b"content-length", str(size).encode()))
    await call.send({"type": "http.response.start", "status": 200, "headers": head})
    await call.send({"type": "http.response.body", "body": first, "more_body": True})
    async for piece in body:
        await call.send({"type": "http.response.body", "body": piece, "more_body": True})
    await call.send({"type": "http.response.body", "body": b""})
