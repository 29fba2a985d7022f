"""Reads requests in the dialect's way: three places for a credential, typed queries with repeated names, pages.

Every fault of a caller becomes a domain error that names the place of the wrong value.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from runyard.dialects.door import Call, Scope
from runyard.dialects.reading import read_body
from runyard.kernel.errors import InvalidArgument, MalformedRequest, Unauthenticated

REGISTRY_USER: Final = "__token__"
_NO_CREDENTIAL: Final = "Authentication failed: send an API key as X-API-Key or as a bearer token"
_MAX_QUERY_FIELDS: Final = 256
_decoder = msgspec.json.Decoder(Any)


def credential(scope: Scope) -> str:
    """Return the API key: `X-API-Key`, `Authorization: Bearer`, or Basic with the user `__token__`.
    A bearer token wins, because a client with a stored key sends both when it means the token. Raises Unauthenticated.
    """
    key = b""
    for name, value in scope["headers"]:
        if name == b"authorization" and value:
            return _authorization(value)
        if name == b"x-api-key":
            key = value.strip()
    if not key:
        raise Unauthenticated(_NO_CREDENTIAL)
    return str(key.decode("latin-1"))


def _authorization(value: bytes) -> str:
    kind, _, rest = value.strip().partition(b" ")
    rest = rest.strip()
    if kind.lower() == b"bearer" and rest:
        return str(rest.decode("latin-1"))
    if kind.lower() == b"basic":
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        if user == REGISTRY_USER and password:
            return password
    raise Unauthenticated(_NO_CREDENTIAL)


async def read_object(call: Call) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty one. Raises MalformedRequest, InvalidArgument."""
    body = await read_body(call)
    if not body.strip():
        return {}
    try:
        if not body.isascii():
            body.decode()
        value = _decoder.decode(body)
    except RecursionError:
        raise MalformedRequest("the JSON body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument("the body must be a JSON object", loc=["body"])
    return value


def text(body: Mapping[str, Any], name: str, *, least: int = 1, most: int = 4096) -> str:
    """Return a required text of a body. Raises InvalidArgument."""
    value = optional_text(body, name, least=least, most=most)
    if value is None:
        raise InvalidArgument(f"{name}: field required", loc=["body", name])
    return value


def optional_text(body: Mapping[str, Any], name: str, *, least: int = 0, most: int = 4096) -> str | None:
    """Return a text of a body, None when it is absent or null. Raises InvalidArgument."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not least <= len(value) <= most or not keepable(value):
        raise InvalidArgument(f"{name}: must be a text of {least} to {most} characters", loc=["body", name])
    return value


def optional_flag(body: Mapping[str, Any], name: str) -> bool | None:
    """Return a truth value of a body, None when it is absent or null. Raises InvalidArgument."""
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise InvalidArgument(f"{name}: must be true or false", loc=["body", name])


def texts(body: Mapping[str, Any], name: str, *, most: int = 256) -> Sequence[str]:
    """Return a list of texts of a body, an empty one when it is absent or null. Raises InvalidArgument."""
    value = body.get(name)
    if value is None:
        return ()
    if (
        not isinstance(value, list)
        or len(value) > most
        or not all(isinstance(one, str) and keepable(one) for one in value)
    ):
        raise InvalidArgument(f"{name}: must be a list of texts", loc=["body", name])
    return value


def keepable(value: str) -> bool:
    """Tell whether every database can hold a text: no NUL, no half of a surrogate pair."""
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def query(call: Call) -> Mapping[str, Sequence[str]]:
    """Return the query with all values of each name. Raises InvalidArgument."""
    raw = call.scope["query_string"]
    if not raw:
        return {}
    try:
        found = parse_qs(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS
        )
    except ValueError:
        raise InvalidArgument("the query is not valid", loc=["query"]) from None
    if not all(keepable(value) for values in found.values() for value in values):
        raise InvalidArgument("the query is not valid", loc=["query"])
    return found


def one(values: Mapping[str, Sequence[str]], name: str) -> str | None:
    """Return the last value of a name of the query, None when it is absent or empty."""
    return (values.get(name) or [""])[-1] or None


def integer(values: Mapping[str, Sequence[str]], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number of the query within bounds. Raises InvalidArgument."""
    found = one(values, name)
    if found is None:
        return default
    if not found.isascii() or not found.isdigit() or len(found) > 18 or not low <= int(found) <= high:
        raise InvalidArgument(f"{name}: must be a whole number from {low} to {high}", loc=["query", name])
    return int(found)


def boolean(values: Mapping[str, Sequence[str]], name: str) -> bool | None:
    """Return a truth value of the query, None when it is absent. Raises InvalidArgument."""
    found = one(values, name)
    if found is None:
        return None
    if found.lower() not in {"true", "false", "1", "0"}:
        raise InvalidArgument(f"{name}: must be true or false", loc=["query", name])
    return found.lower() in {"true", "1"}
