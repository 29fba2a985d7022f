"""Sends answers of the protocol. Owns the encoder, the media type and the headers that clients look for."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.streaming import send_pieces
from runyard.dialects.terraform.errors import MEDIA_TYPE
from runyard.infrastructure.state.model import StateVersion
from runyard.kernel.jsons import encode_json

API_VERSION: Final = "2.6"
"""Of the protocol that this door speaks."""
HEADERS: Final = ((b"tfp-api-version", API_VERSION.encode()), (b"tfp-appname", b"Runyard"))


def encode(document: object) -> bytes:
    """Return a document as compact JSON."""
    return encode_json(document)


def time_of(moment: datetime | None) -> str | None:
    """Write a time as the protocol does."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def resource(
    kind: str, name: str, attributes: Mapping[str, Any], related: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a resource object. `related` has pairs of kind and id, lists of them, or None."""
    shown: dict[str, Any] = {"id": name, "type": kind, "attributes": attributes}
    if related:
        shown["relationships"] = {key: {"data": _reference(value)} for key, value in related.items()}
    return shown


def _reference(value: Any) -> Any:  # noqa: ANN401  one pair, many, or none
    if value is None:
        return None
    if isinstance(value, list):
        return [_reference(one) for one in value]
    kind, name = value
    return {"type": kind, "id": name}


async def send_resource(
    call: Call, shown: Mapping[str, Any], status: int = 200, included: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Send one resource."""
    document: dict[str, Any] = {"data": shown}
    if included:
        document["included"] = included
    await send_answer(call, Answer(status, encode(document), MEDIA_TYPE, HEADERS))


async def send_list(
    call: Call, items: Sequence[Mapping[str, Any]], number: int, size: int, *, more: bool = False
) -> None:
    """Send a page of resources. The whole is never counted: the numbers say as much as is known."""
    known = (number - 1) * size + len(items) + more
    paging = {
        "current-page": number,
        "page-size": size,
        "prev-page": number - 1 if number > 1 else None,
        "next-page": number + 1 if more else None,
        "total-pages": number + more,
        "total-count": known,
    }
    document = {"data": items, "meta": {"pagination": paging}}
    await send_answer(call, Answer(200, encode(document), MEDIA_TYPE, HEADERS))


async def send_json(call: Call, document: object, status: int = 200) -> None:
    """Send a plain JSON document."""
    await send_answer(call, Answer(status, encode(document)))


async def send_nothing(call: Call, status: int = 204) -> None:
    """Answer without a body."""
    await send_answer(call, Answer(status, content_type=None, headers=HEADERS))


async def send_state(
    call: Call,
    version: StateVersion,
    body: AsyncIterator[bytes],
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a state piece by piece; nobody on the way may keep it."""
    own = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    await send_pieces(call, version.facts.size, body, [*own, *HEADERS, *headers])
