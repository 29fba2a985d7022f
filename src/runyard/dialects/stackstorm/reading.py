"""Reads requests in the dialect's way: five places for a credential, lenient bodies, typed queries, paging."""

import base64
import binascii
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote

from runyard.actions import keepable
from runyard.dialects.door import Answer, Call, Message, Scope
from runyard.dialects.reading import header, query, read_body
from runyard.dialects.stackstorm.granting import access_of
from runyard.kernel.errors import (
    InvalidArgument,
    MalformedRequest,
    PermissionDenied,
    TooLarge,
    Unauthenticated,
)

MAX_PAGE: Final = 100
LARGEST_DOCUMENT: Final = 16 << 20
"""Bytes of a body; the published limit of what can be kept of one execution."""
_MOST_FIELDS: Final = 1000
"""Fields of a form; some million of them took the loop for seconds."""
_TOO_LARGE: Final = "the request body is larger than 16 MB"
_INTEGER: Final = re.compile(r"-?[0-9]+")
_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{3,6}))?\s*(?:Z|\+00(?::?00)?)$"
)
_HEX: Final = re.compile(r"[0-9a-fA-F]{24}")
_TRUE, _FALSE = {"true", "1", "yes", "y"}, {"false", "0", "no", "n"}
_OWN_HEADERS: Final = (b"x-auth-token", b"st2-api-key")
_OTHER_HEADERS: Final = (b"authorization", b"x-api-key")
_COOKIE_LIFETIME: Final = timedelta(days=1)
_NO_CREDENTIAL: Final = "Unauthorized - One of Token or API key required."
_ALLOWED: Final = (
    (b"access-control-allow-methods", b"GET,POST,PUT,DELETE,OPTIONS"),
    (b"access-control-allow-headers", b"Content-Type,Authorization,X-Auth-Token,St2-Api-Key,X-Request-ID"),
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"Content-Type,X-Limit,X-Total-Count,X-Request-ID"),
)


def credential(scope: Scope) -> str:
    """Return the credential of the first place that has one. Raises Unauthenticated."""
    return found_credential(scope)[2]


def found_credential(scope: Scope) -> tuple[str, str, str]:
    """Return method, place and secret of the credential. Raises Unauthenticated."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    given = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    cookies = dict(
        part.strip().split("=", 1) for part in headers.get(b"cookie", "").split(";") if "=" in part
    )
    # A page of another origin may use a credential that it has itself, never the cookie that a browser adds: pages on
    # other ports of this host, such as services of environments, get that too.
    cookie = "" if _from_elsewhere(headers) else unquote(cookies.get("auth-token", ""))
    places = (
        ("authentication token", "header", headers.get(b"x-auth-token")),
        ("API key", "header", headers.get(b"st2-api-key")),
        ("authentication token", "query", given.get("x-auth-token", [None])[0]),
        ("API key", "query", given.get("st2-api-key", [None])[0]),
        ("authentication token", "cookie", cookie),
    )
    for method, place, secret in places:
        if secret:
            return method, place, secret
    raise Unauthenticated(_NO_CREDENTIAL)


def _from_elsewhere(headers: Mapping[bytes, str]) -> bool:
    """Tell whether a page of another origin sends a request; browsers name the origin where a page could read the answer
    or change something.
    """
    origin = headers.get(b"origin")
    if origin is None or headers.get(b"sec-fetch-site") == "same-origin":
        return False
    return origin.partition("://")[2].lower() != headers.get(b"host", "").lower()


def unknown(scope: Scope, error: Unauthenticated) -> Unauthenticated:
    """Name the hash of an API key that nobody has, as the original does; of tokens nothing is said."""
    method, _, secret = found_credential(scope)
    if method != "API key" or "why" in error.detail:
        return error
    digest = hashlib.sha512(secret.encode()).hexdigest()
    return Unauthenticated(f"Unauthorized - ApiKey with key_hash={digest} not found.")


def claims(scope: Scope) -> bool:
    """Tell whether a request carries a credential of this dialect, or asks whether a page may send one. A cookie comes
    along with whatever a browser sends, so a credential of another dialect beside it counts for more.
    """
    cookie = other = False
    for name, value in scope["headers"]:
        if name in _OWN_HEADERS:
            return True
        if name == b"access-control-request-headers" and any(own in value.lower() for own in _OWN_HEADERS):
            return True
        cookie = cookie or (name == b"cookie" and b"auth-token=" in value)
        other = other or name in _OTHER_HEADERS
    query_string: bytes = scope.get("query_string", b"")
    return (cookie and not other) or b"x-auth-token=" in query_string or b"st2-api-key=" in query_string


def basic(scope: Scope) -> tuple[str, str]:
    """Return user and password. Raises Unauthenticated with the published text."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:6].lower() == b"basic ":
            try:
                user, found, password = base64.b64decode(value[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                break
            if found:
                return user, password
    raise Unauthenticated("Invalid or missing credentials")


def prepare(call: Call) -> Answer | None:
    """Take over the request id and give every answer the headers of the dialect; OPTIONS is answered at once."""
    given = dict(call.scope["headers"])
    wanted = given.get(b"x-request-id", b"").decode("latin-1").strip()
    call.request_id = wanted[:128] if wanted else str(uuid.uuid4())
    origin = given.get(b"origin", b"*")
    send = call.send

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(b"access-control-allow-origin", origin), *_ALLOWED]
            if call.principal is not None and message["status"] < 400:
                method, place, secret = found_credential(call.scope)
                if method == "authentication token" and place != "cookie":
                    more.append((b"set-cookie", _cookie(secret, call.principal.expires_at)))
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    call.send = with_headers
    if call.scope.get("method") == "OPTIONS":
        return Answer(200, content_type=None)
    return None


def _cookie(token: str, ends: datetime | None) -> bytes:
    """Return a cookie that lives as long as its token, and a day with a token that has no end."""
    now = datetime.now(UTC)
    ends = now + _COOKIE_LIFETIME if ends is None else ends
    seconds = max(0, int((ends - now).total_seconds()))
    return (
        f"auth-token={quote(token, safe='')}; Max-Age={seconds}; Path=/; expires={format_datetime(ends, usegmt=True)}; "
        "secure; HttpOnly; SameSite=lax"
    ).encode()


async def read_object(call: Call) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty one. Raises MalformedRequest, InvalidArgument."""
    value = await read_value(call)
    if not isinstance(value, dict):
        raise InvalidArgument(f"{value!r} is not of type 'object'")
    return value


async def read_value(call: Call) -> Any:  # noqa: ANN401  any document
    """Read a JSON value. Raises MalformedRequest, TooLarge."""
    declared = header(call, b"content-length") or ""
    if declared.isdigit() and int(declared) > LARGEST_DOCUMENT:
        raise TooLarge(_TOO_LARGE)
    body = await read_body(call)
    if len(body) > LARGEST_DOCUMENT:
        raise TooLarge(_TOO_LARGE)
    kind = (header(call, b"content-type") or "application/json").split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and body:
        try:
            return dict(parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS))
        except ValueError as error:
            raise MalformedRequest(f"Failed to parse request body: {error}") from None
    if kind not in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        raise MalformedRequest(f'Failed to parse request body: Unsupported Content-Type: "{kind}"')
    if not body.strip():
        return {}
    try:
        return keepable.read(body)
    except ValueError as error:
        raise MalformedRequest(f"Failed to parse request body: {error}") from None


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    """Return a text of a body; absent, null and empty are None. Raises InvalidArgument."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"{value!r} is not of type 'string'")
    return value or None


def flag(values: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a truth value of the query. Raises InvalidArgument."""
    text = values.get(name)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidArgument(f'Parameter "{name}" is not of type boolean')


def number(values: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    """Return a whole number of the query. Raises InvalidArgument."""
    text = values.get(name)
    if text is None:
        return default
    if _INTEGER.fullmatch(text) is None or len(text) > 18:
        raise InvalidArgument(f'Parameter "{name}" is not of type integer')
    return int(text)


def words(values: Mapping[str, str], name: str) -> list[str]:
    """Return a comma-separated list of the query."""
    return [word.strip() for word in values.get(name, "").split(",") if word.strip()]


def moment(text: str) -> datetime:
    """Read a time. Raises InvalidArgument."""
    found = _TIME.match(text.strip().replace(" 00:00", "+00:00") if text.endswith(" 00:00") else text.strip())
    if found is None:
        raise InvalidArgument("Datetime value does not match expected format.")
    day, clock, fraction = found.groups()
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0').ljust(6, '0')}").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidArgument("Datetime value does not match expected format.") from None


def object_id(text: str) -> str:
    """Check the form of an id. Raises InvalidArgument with the published text."""
    if _HEX.fullmatch(text) is None:
        raise InvalidArgument(
            f"'{text}' is not a valid ObjectId, it must be a 12-byte input or a 24-character hex string"
        )
    return text.lower()


def is_admin(call: Call) -> bool:
    """Tell whether the caller counts as an administrator."""
    return access_of(call).is_admin


def shows_secrets(call: Call, values: Mapping[str, str]) -> bool:
    """Tell whether secrets are shown: asked for, and by an administrator; else silently not."""
    return flag(values, "show_secrets") and is_admin(call)


def paging(call: Call, values: Mapping[str, str], default: int | None) -> tuple[int, int | None]:
    """Return offset and limit, None for all. Raises InvalidArgument, PermissionDenied with the published texts."""
    limit, offset = number(values, "limit", default), number(values, "offset", 0) or 0
    admin = is_admin(call)
    if offset >= 2**31:
        raise InvalidArgument(f'Offset "{offset}" specified is more than 32-bit int')
    if offset < 0:
        raise InvalidArgument(f'Offset "{offset}" specified, must not be negative.')
    if limit is None:
        return offset, None
    if limit == 0:
        raise InvalidArgument('Limit, "0" specified, must be a positive number or -1 for full result set.')
    if limit < -1:
        raise InvalidArgument(f'Limit, "{limit}" specified, must be a positive number.')
    if limit == -1:
        if not admin:
            raise PermissionDenied(
                "Administrator access required to be able to specify limit=-1 and retrieve all the records"
            )
        return offset, None
    if limit > MAX_PAGE and not admin:
        raise PermissionDenied(f'Limit "{limit}" specified, maximum value is "{MAX_PAGE}"')
    return offset, limit


def attributes(
    values: Mapping[str, str], known: Sequence[str], excludable: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return what to include and what to leave out. Raises InvalidArgument with the published texts."""
    included, excluded = words(values, "include_attributes"), words(values, "exclude_attributes")
    if included and excluded:
        raise InvalidArgument(
            "exclude_attributes and include_attributes arguments are mutually exclusive. "
            "You need to provide either one or another, but not both."
        )
    for name in included:
        root, dot, _ = name.partition(".")
        if root not in known or (dot and root == "result"):
            raise InvalidArgument(
                f'Invalid or unsupported include attribute specified: Cannot resolve field "{name}"'
            )
    for name in excluded:
        if name not in excludable:
            raise InvalidArgument(f"Invalid or unsupported exclude attribute specified: {name}")
    return included, excluded


def narrowed(document: dict[str, Any], included: Sequence[str], excluded: Sequence[str]) -> dict[str, Any]:
    """Return a document with the wanted members only; its id always stays."""
    if included:
        roots = {name.partition(".")[0] for name in included} | {"id", "ref"}
        document = {name: value for name, value in document.items() if name in roots}
    return {name: value for name, value in document.items() if name not in excluded}


__all__ = ["header", "query", "read_body"]
