"""HTTP as this client speaks it. Owns connections, the credential header, error answers and careful retries.

Only what cannot do harm twice is tried again: reads, and creates that carry an idempotency key. The HTTP library is
imported here and nowhere else, and only at the first request: a command over a WebSocket never needs it.
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from runyard import __version__
from runyard.client.errors import ApiError, ConnectionLost, InvalidAnswer, InvalidConfiguration, Unreachable

if TYPE_CHECKING:
    import httpx2

Decoded = TypeVar("Decoded")

BASE_PATH = "/runyard/v1"
USER_AGENT = f"runyard/{__version__}"
TRIES = 3
RETRY_STATUS = frozenset({429, 502, 503, 504})
LONGEST_PAUSE = 5.0
"""Seconds; a server that wants a longer pause gets its error shown instead."""


@dataclass(frozen=True)
class Request:
    """One call: what goes over the wire and whether it may be sent twice."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    json: object = None
    content: bytes | Iterator[bytes] | None = None
    headers: Mapping[str, str] | None = None
    timeout: float | None = 30.0
    """Seconds without a byte; None waits for ever."""
    repeatable: bool = False


def path_of(*segments: str) -> str:
    """Join segments below the API's base; each is percent-encoded as one segment."""
    return "/".join([BASE_PATH, *(quote(segment, safe="") for segment in segments)])


def is_loopback(url: str) -> bool:
    """Tell whether an address is this machine, where a proxy has no business."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")


class Transport:
    """A pool of connections to one server."""

    def __init__(self, url: str, token: str | None, *, patience: float | None = None) -> None:
        """Connect lazily; nothing is sent before the first request."""
        self.url = url.rstrip("/")
        self.token = token
        self._patience = patience
        self.headers()

    @cached_property
    def _http(self) -> "httpx2.Client":
        """Make the pool when the first request needs it."""
        import httpx2

        # An empty context costs nothing and trusts nobody: right for plain HTTP, where none is used.
        plain = self.url.startswith("http://")
        verify: ssl.SSLContext | bool = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
        return httpx2.Client(
            base_url=self.url, headers=self.headers(), verify=verify, trust_env=not is_loopback(self.url)
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of every request. Raises InvalidConfiguration when the token cannot be one."""
        headers = {"User-Agent": USER_AGENT}
        if self.token:
            if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
                raise InvalidConfiguration("the token has characters that no token has; was it copied whole?")
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def close(self) -> None:
        """Close all connections."""
        if "_http" in self.__dict__:
            self._http.close()

    def call(self, request: Request, into: type[Decoded]) -> Decoded:
        """Send a request and decode its JSON answer."""
        return decode(self.send(request), into)

    def send(self, request: Request) -> bytes:
        """Send a request and return the body of its answer. Raises ApiError, Unreachable, ConnectionLost."""
        import httpx2

        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES or not request.repeatable
            try:
                response = self._http.send(self._build(request))
            except httpx2.TransportError as error:
                # A refused connection will be refused in a moment too; a broken one often was only an idle one.
                if last or isinstance(error, httpx2.ConnectError):
                    raise unreachable(error, self.url) from error
                continue
            if response.is_success:
                return response.content
            problem = problem_of(response.status_code, response.content, response.headers)
            pause = problem.retry_after if problem.retry_after is not None else 0.2 * attempt
            if last or problem.status not in RETRY_STATUS or pause > LONGEST_PAUSE:
                raise problem
            time.sleep(pause)
        raise AssertionError("unreachable")

    @contextmanager
    def stream(self, request: Request) -> "Iterator[httpx2.Response]":
        """Send a request and hand out the open answer. Raises as `send`, also while the answer is read."""
        import httpx2

        try:
            response = self._http.send(self._build(request), stream=True)
            try:
                if not response.is_success:
                    raise problem_of(response.status_code, response.read(), response.headers)
                yield response
            finally:
                response.close()
        except httpx2.ConnectError as error:
            raise unreachable(error, self.url) from error
        except httpx2.TransportError as error:
            raise ConnectionLost(f"the connection to {self.url} broke: {describe(error)}") from error

    def _build(self, request: Request) -> "httpx2.Request":
        headers = dict(request.headers or {})
        content: Any = request.content
        if request.json is not None:
            content = msgspec.json.encode(request.json)
            headers["Content-Type"] = "application/json"
        return self._http.build_request(
            request.method,
            request.path,
            params=dict(request.query) if request.query else None,
            content=content,
            headers=headers,
            timeout=self._timeout(request.timeout),
        )

    def _timeout(self, seconds: float | None) -> "httpx2.Timeout":
        """Return the time limits of one request; the client's own patience caps them all."""
        import httpx2

        if self._patience is not None:
            return httpx2.Timeout(min(self._patience, seconds or self._patience))
        return httpx2.Timeout(seconds, connect=10.0)


def decode(body: bytes, into: type[Decoded]) -> Decoded:
    """Decode a JSON answer. Raises InvalidAnswer when it does not have the expected form."""
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidAnswer(f"the server's answer was not understood: {error}") from error


def unreachable(error: Exception, url: str) -> Unreachable:
    """Turn a failure of the network into an error that names the address."""
    return Unreachable(f"cannot reach {url}: {describe(error)}")


def describe(error: Exception) -> str:
    """Return the text of an error, or the name of its kind when it has none."""
    return str(error) or type(error).__name__


def problem_of(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """Read a problem document; an answer that is none (a proxy's page) still becomes an error with its status."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    fields: dict[str, Any] = document if isinstance(document, dict) else {}
    text = fields.get("detail") or fields.get("title") or f"the server answered HTTP {status}"
    known = {"type", "title", "status", "detail", "code", "request_id", "instance"}
    return ApiError(
        str(text),
        status=status,
        code=str(fields.get("code") or _code_for(status)),
        request_id=str(fields.get("request_id") or headers.get("x-request-id") or "") or None,
        retry_after=_seconds(headers.get("retry-after")),
        extra={name: value for name, value in fields.items() if name not in known},
    )


def _code_for(status: int) -> str:
    """Name an error that came without a code."""
    named = {401: "unauthenticated", 403: "permission_denied", 404: "not_found", 409: "conflict"}
    return named.get(status, "unavailable" if status in RETRY_STATUS else "internal")


def _seconds(text: str | None) -> float | None:
    """Read `Retry-After`; the form with a date is not used by this API and counts as absent."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


class Readable(Protocol):
    """Something with blocks of bytes in it, such as an open file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        ...


def read_blocks(source: Readable, block_bytes: int = 256 * 1024) -> Iterator[bytes]:
    """Read a file in blocks, so that its size does not matter."""
    while block := source.read(block_bytes):
        yield block
