"""Sends answers. Owns the encoder and the headers of the dialect's successes."""

from collections.abc import Sequence

import msgspec

from runyard.dialects.door import Call


def _plain(value: object) -> str:
    """Encode typed ids, which are texts of their own kinds."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)
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
    await send_body(call, _encoder.encode(document), status, headers)


async def send_nothing(call: Call) -> None:
    """Answer 204."""
    call.started = True
    headers = [(b"x-request-id", call.request_id.encode())]
    await call.send({"type": "http.response.start", "status": 204, "headers": headers})
    await call.send({"type": "http.response.body", "body": b""})


def encode(document: object) -> bytes:
    """Encode a document as the dialect does."""
    return _encoder.encode(document)
