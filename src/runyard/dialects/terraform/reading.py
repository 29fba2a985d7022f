"""Reads requests in the dialect's way: Basic credentials, guarded bodies, and the documents of the protocol."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Scope
from runyard.dialects.reading import bearer, pieces, read_json
from runyard.dialects.terraform.errors import MEDIA_TYPE
from runyard.kernel.errors import InvalidArgument, Unauthenticated

Value = TypeVar("Value")
LARGEST_DOCUMENT: Final = 8 << 20
"""Of a request of the protocol, in bytes: what is larger comes by an address of its own."""


class Resource(msgspec.Struct, kw_only=True):
    """What a request is about."""

    type: str = ""
    id: str | None = None
    attributes: Mapping[str, Any] = {}
    relationships: Mapping[str, Any] = {}


class Document(msgspec.Struct, kw_only=True):
    """The body of a request of the protocol."""

    data: Resource = msgspec.field(default_factory=Resource)


class Documents(msgspec.Struct, kw_only=True):
    """The body of a request that names many."""

    data: Sequence[Resource] = ()


_documents = msgspec.json.Decoder(Documents)
_document = msgspec.json.Decoder(Document)


def speaks_protocol(scope: Scope) -> bool:
    """Tell whether a request is of this protocol, by the media type that its clients always name: some paths of
    workspaces are another door's as well.
    """
    return any(
        name in (b"accept", b"content-type") and MEDIA_TYPE.encode() in value
        for name, value in scope["headers"]
    )


def credential(scope: Scope) -> str:
    """Return the secret: a bearer token, or the password of Basic with any user name. Raises Unauthenticated."""
    for name, value in scope["headers"]:
        kind, _, rest = value.strip().partition(b" ")
        if name == b"authorization" and kind.lower() == b"basic":
            return _password(rest.strip())
    return bearer(scope)


def _password(encoded: bytes) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Authorization header is not valid") from None
    password = text.partition(":")[2]
    if not password:
        raise Unauthenticated("the password of the Basic credentials must be a token")
    return password


async def read_document(call: Call) -> Resource:
    """Read the body of a request of the protocol."""
    return (await read_json(call, _document)).data


async def read_documents(call: Call) -> Sequence[Resource]:
    """Read the body of a request that names many."""
    return (await read_json(call, _documents)).data


async def read_bounded(call: Call, limit: int) -> bytes:
    """Read a body of at most `limit` bytes. Raises TooLarge as soon as it is over, ClientGone."""
    body = bytearray()
    async for piece in pieces(call, limit):
        body += piece
    return bytes(body)


async def skip_bounded(call: Call, limit: int) -> None:
    """Read a body to its end without keeping it. Raises TooLarge, ClientGone."""
    async for _ in pieces(call, limit):
        pass


def attribute(resource: Resource, name: str, kind: type[Value], default: Value) -> Value:
    """Return an attribute of a request, the default when it is missing or null. Raises InvalidArgument."""
    value = resource.attributes.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidArgument(f"{name} must be a value of the kind {kind.__name__}")
    if "\0" in str(value):
        raise InvalidArgument(f"{name} must not contain a NUL")
    return value


def related(resource: Resource, name: str) -> str | None:
    """Return the id that a relationship of a request names, None when it names none. Raises InvalidArgument."""
    relation = resource.relationships.get(name)
    data = relation.get("data") if isinstance(relation, dict) else None
    found = data.get("id") if isinstance(data, dict) else None
    if found is not None and (not isinstance(found, str) or "\0" in found):
        raise InvalidArgument(f"the id of {name} must be a text without a NUL")
    return found


def query(call: Call) -> Mapping[str, str]:
    """Return the query. Raises InvalidArgument, also for a NUL, which no database takes."""
    found = reading.query(call)
    if any("\0" in value for value in found.values()):
        raise InvalidArgument("the query contains a NUL")
    return found


def page(call: Call) -> tuple[int, int]:
    """Return number (from 1) and size of the page that is asked for. Raises InvalidArgument."""
    values = query(call)
    number, size = values.get("page[number]", "1"), values.get("page[size]", "20")
    if not (number.isdigit() and size.isdigit() and len(number) < 8 and len(size) < 8):
        raise InvalidArgument("page[number] and page[size] must be whole numbers")
    if not (int(number) >= 1 and 1 <= int(size) <= 100):
        raise InvalidArgument("page[number] is at least 1 and page[size] is 1 to 100")
    return int(number), int(size)
