"""Tokens over the native API. Owns their paths and bodies."""

from collections.abc import Iterator

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import MadeToken, NewToken, Page, Token
from runyard.client.paging import each


class Tokens:
    """Credentials of the caller's account."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, *, limit: int | None = None) -> Iterator[Token]:
        """Yield tokens without their secrets."""
        return each(self._transport, path_of("tokens"), Page[Token], {}, limit)

    def create(self, new: NewToken) -> MadeToken:
        """Make a token. The answer is the only place where its secret is ever shown."""
        return self._transport.call(Request("POST", path_of("tokens"), json=new), MadeToken)

    def revoke(self, token: str) -> None:
        """Make a token useless at once."""
        self._transport.send(Request("DELETE", path_of("tokens", token)))
