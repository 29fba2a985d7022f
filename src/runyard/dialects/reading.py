"""Reads requests for all doors: bodies, queries, headers. Every fault of a caller becomes a domain error here, never a 500.

Knows no dialect's words; a door adds its own helpers beside its wire types.
"""

import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from runyard.dialects.door import Call, ClientGone, Scope
from runyard.kernel.errors import InvalidArgument, MalformedRequest, TooLarge, Unauthenticated

Body = TypeVar("Body")
Word = TypeVar("Word", bound=StrEnum)


def bearer(scope: Scope) -> str:
    """Return the bearer token. Raises Unauthenticated."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() == b"bearer" and token.strip():
                return str(token.strip().decode("latin-1"))
            raise Unauthenticated("the Authorization header must be: Bearer <token>")
    raise Unauthenticated("missing Authorization bearer token")


def header(call: Call, name: bytes) -> str | None:
    """Return a header's value."""
    for key, value in call.scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def read_body(call: Call) -> bytes:
    """Read a whole body; the server has bounded it before a door sees it. Raises ClientGone, TooLarge."""
    message = await call.receive()
    if not message.get("more_body", False) and message["type"] == "http.request":
        return bytes(message.get("body", b""))
    parts: list[bytes] = []
    while True:
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await call.receive()


async def pieces(call: Call, limit: int | None = None) -> AsyncIterator[bytes]:
    """Yield a body as it comes, at most `limit` bytes of it; what declares more is refused before any. Raises TooLarge,
    ClientGone.
    """
    declared = header(call, b"content-length") or ""
    if limit is not None and declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the body has more than {limit} bytes", limit=limit)
    seen = 0
    more = True
    while more:
        message = await call.receive()
        if message["type"] != "http.request":
            raise ClientGone
        piece = message.get("body", b"")
        seen += len(piece)
        if limit is not None and seen > limit:
            raise TooLarge(f"the body has more than {limit} bytes", limit=limit)
        if piece:
            yield piece
        more = message.get("more_body", False)


def content_md5(call: Call) -> str | None:
    """Return the MD5 that a request names for its body, in hex; None when it names none. Raises InvalidArgument."""
    given = header(call, b"content-md5")
    if given is None:
        return None
    try:
        wanted = base64.b64decode(given, validate=True)
    except ValueError:
        raise InvalidArgument("Content-MD5 must be base64") from None
    return wanted.hex()


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """Decode a JSON body. Raises MalformedRequest for no JSON, InvalidArgument for JSON that does not fit."""
    try:
        if not body.isascii():
            body.decode()  # the decoder does not look into fields that it skips
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidArgument(str(error)) from None
    except RecursionError:
        raise MalformedRequest("the JSON body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from None


async def read_json(call: Call, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Read and decode a required JSON body."""
    return decode(decoder, await read_body(call))


async def read_optional_json(call: Call, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Read and decode a body whose every field is optional, so that an empty one is `{}`."""
    return decode(decoder, await read_body(call) or b"{}")


def query(call: Call) -> Mapping[str, str]:
    """Return the query; of repeated names the last counts. Raises InvalidArgument."""
    raw = call.scope["query_string"]
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise InvalidArgument("the query is not valid") from None
    if b"%00" in raw and any("\0" in name or "\0" in value for name, value in pairs):
        # Nothing that is kept has one, and PostgreSQL takes none in a condition.
        raise InvalidArgument("the query contains a NUL")
    return dict(pairs)


def repeated(call: Call, name: str) -> Sequence[str]:
    """Return all values of a name in the query, in their order; empty ones are passed over. Raises InvalidArgument."""
    if name not in query(call):
        return ()
    pairs = parse_qsl(call.scope["query_string"].decode("ascii"), errors="strict")
    return [value for key, value in pairs if key == name]


def words(given: Iterable[str], name: str, vocabulary: type[Word]) -> tuple[Word, ...]:
    """Return words of a vocabulary, each once. Raises InvalidArgument, which names the first that is none and all that are."""
    found: dict[Word, None] = {}
    for text in given:
        try:
            found[vocabulary(text)] = None
        except ValueError:
            known = ", ".join(item.value for item in vocabulary)
            raise InvalidArgument(f"unknown {name} {text[:100]!r}; known are {known}") from None
    return tuple(found)


def listed_words(values: Mapping[str, str], name: str, vocabulary: type[Word]) -> tuple[Word, ...]:
    """Return the words of a parameter of the query that are separated by commas. Raises InvalidArgument."""
    texts = (text.strip() for text in values.get(name, "").split(","))
    return words(filter(None, texts), name, vocabulary)


def integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number of the query within bounds. Raises InvalidArgument."""
    text = values.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
        raise InvalidArgument(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def boolean(values: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a truth value of the query. Raises InvalidArgument."""
    text = values.get(name)
    if text is None:
        return default
    if text.lower() not in {"true", "false", "1", "0"}:
        raise InvalidArgument(f"{name} must be true or false")
    return text.lower() in {"true", "1"}
