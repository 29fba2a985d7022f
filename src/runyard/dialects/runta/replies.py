"""Sends answers. Owns the encoder and the headers of the dialect's successes."""

from collections.abc import Sequence

from runyard.dialects.door import Call
from runyard.kernel.jsons import encode_json

_JSON = (b"content-type", b"application/json")

EMPTY = b'{"data":{}}'


async def send_body(
    call: Call, body: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send an encoded JSON document."""
    call.started = True
    await call.send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"x-request-id", call.request_id.encode()),
                _JSON,
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await call.send({"type": "http.response.body", "body": body})


async def send_json(
    call: Call, document: object, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Encode and send a document."""
    await send_body(call, encode_json(document), status, headers)


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    call.started = True
    headers = [(b"x-request-id", call.request_id.encode())]
    await call.send({"type": "http.response.start", "status": 204, "headers": headers})
    await call.send({"type": "http.response.body", "body": b""})


def encode(document: object) -> bytes:
    """Encode a document as the dialect does."""
    return encode_json(document)
