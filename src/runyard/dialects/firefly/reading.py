"""Reads requests in the dialect's way: its credential, its words for a body that does not fit, paging, sorting."""

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UnsetType

from runyard.dialects.door import Call, Handler, Scope
from runyard.dialects.reading import boolean, decode, integer, read_body
from runyard.dialects.reading import query as raw_query
from runyard.kernel.errors import InvalidArgument, Unauthenticated

Body = TypeVar("Body")
Value = TypeVar("Value")
PAGE_SIZE: Final = 25
MAX_PAGE: Final = 1000
FARTHEST: Final = 10_000_000
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_WRONG = re.compile(r"Expected (.+?)(?:, got `?([^`]+)`?)?(?: - at `\$\.?([^`]*)`)?\Z")
_UNKNOWN = re.compile(r"Invalid enum value ('[^']*') - at `\$\.?([^`]*)`")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def credential(scope: Scope) -> str:
    """Return the secret: a bearer token, or the secret key of Basic. Raises Unauthenticated."""
    return _credential(scope)[1]


def _credential(scope: Scope) -> tuple[str | None, str]:
    """Return the access key, when one was given, and the secret."""
    for name, value in scope["headers"]:
        if name != b"authorization":
            continue
        kind, _, rest = value.strip().partition(b" ")
        if kind.lower() == b"bearer" and rest.strip():
            return None, str(rest.strip().decode("latin-1"))
        if kind.lower() == b"basic":
            try:
                user, found, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                break
            if found and password:
                return user, password
        break
    raise Unauthenticated("Unauthorized: a bearer token or a key pair is needed")


def with_key_checked(handler: Handler) -> Handler:
    """Wrap a handler so that a secret key counts only together with its access key."""

    async def checked(call: Call) -> None:
        access_key, _ = _credential(call.scope)
        if access_key is not None and access_key not in (call.caller.user_name, call.caller.token_id):
            raise Unauthenticated("Unauthorized: the key pair is not valid")
        await handler(call)

    return checked


def title(field: str) -> str:
    """Write a field as people read it: `vcsType` is `Vcs Type`."""
    return " ".join(word.capitalize() for word in _WORDS.findall(field)) or field


async def read(call: Call, decoder: msgspec.json.Decoder[Body], *, empty: bytes = b"{}") -> Body:
    """Read a JSON body; none at all, and null, is an empty one. Raises MalformedRequest, InvalidArgument in the dialect's
    words.
    """
    body = await read_body(call)
    if _NUL.search(body):
        raise InvalidArgument("the body must not contain a NUL: no database can keep one")
    try:
        return decode(decoder, empty if body.strip() in (b"", b"null") else body)
    except InvalidArgument as error:
        raise InvalidArgument(_worded(error.message)) from None


def _worded(text: str) -> str:
    missing = _MISSING.search(text)
    if missing is not None:
        return f"{title(missing[1])} is required"
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        return f"{_named(unknown[2])} is not valid: {unknown[1][:80]}"
    wrong = _WRONG.search(text)
    if wrong is None:
        return text
    named = _named(wrong[3] or "")
    if wrong[2] == "null":
        return f"{named} is required"
    return f"{named} is not valid: expected {wrong[1].replace('`', '')}"


def _named(path: str) -> str:
    """Return the last member of a path as people read it."""
    last = path.split(".")[-1].split("[")[0]
    return title(last) if last else "Body"


def unless_unset(value: Value | UnsetType | None, empty: Value) -> Value | UnsetType:
    """Return a member of a change: null clears it, left out leaves it as it is."""
    return empty if value is None else value


def tuple_unless_unset(value: list[str] | UnsetType | None) -> tuple[str, ...] | UnsetType:
    """Return a list of a change: null empties it, left out leaves it as it is."""
    return value if isinstance(value, UnsetType) else tuple(value or ())


def required(value: str | None, field: str) -> str:
    """Return a text that must say something. Raises InvalidArgument."""
    if value is None or not value.strip():
        raise InvalidArgument(f"{title(field)} is required")
    return value


def one_of(value: str, known: Collection[str], field: str) -> str:
    """Return a word of a list. Raises InvalidArgument."""
    if value not in known:
        raise InvalidArgument(f"{title(field)} is not valid: one of {', '.join(known)}")
    return value


def query(call: Call) -> Mapping[str, str]:
    """Return the query. Raises InvalidArgument."""
    values = raw_query(call)
    if any("\0" in value for value in values.values()):
        raise InvalidArgument("the query must not contain a NUL")
    return values


def paged(call: Call) -> tuple[int, int]:
    """Return offset and limit of `page` and `pageSize`. Raises InvalidArgument."""
    values = query(call)
    size = integer(values, "pageSize", PAGE_SIZE, 1, MAX_PAGE)
    return integer(values, "page", 0, 0, FARTHEST) * size, size


def windowed(call: Call, default: int = PAGE_SIZE) -> tuple[int, int]:
    """Return offset and limit of `offset` and `pageSize`. Raises InvalidArgument."""
    values = query(call)
    return integer(values, "offset", 0, 0, FARTHEST), integer(values, "pageSize", default, 1, MAX_PAGE)


Sort = Sequence[tuple[str, bool]]
"""Fields and whether each descends, the first one first."""


def sorting(given: object, known: Collection[str]) -> Sort:
    """Read a `sort`: one object, or an array of objects, of fields with `{"order": 1}` or `-1`. Raises InvalidArgument."""
    if given is None:
        return ()
    found: list[tuple[str, bool]] = []
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, dict):
            raise InvalidArgument("Sort is not valid: expected objects of fields")
        for name, how in one.items():
            order = how.get("order") if isinstance(how, dict) else how
            if isinstance(order, bool) or order not in (1, -1):
                raise InvalidArgument("Sort is not valid: the order is 1 or -1")
            found.append((one_of(name, known, "sort"), order == -1))
    return found


__all__ = ["boolean", "query"]
