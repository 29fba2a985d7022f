"""Stored secrets over the native API. Owns their paths and bodies; no answer ever holds a value."""

from collections.abc import Sequence

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Page, Secret


class Secrets:
    """The secrets of the token's scope. Every `secret` argument is an id or a name that is unique."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self) -> Sequence[Secret]:
        """Return all secrets by name."""
        return self._transport.call(Request("GET", path_of("secrets"), repeatable=True), Page[Secret]).items

    def get(self, secret: str) -> Secret:
        """Return one secret."""
        return self._transport.call(Request("GET", path_of("secrets", secret), repeatable=True), Secret)

    def put(self, secret: str, value: str, *, cache_ttl_secs: int = 0) -> Secret:
        """Store a secret under a name, or replace its value. 1 to 65536 bytes; kept in memory up to an hour at most."""
        body = {"value": value, "cache_ttl_secs": cache_ttl_secs}
        return self._transport.call(Request("PUT", path_of("secrets", secret), json=body), Secret)

    def delete(self, secret: str) -> None:
        """Delete a secret; runtimes that use it go on without it."""
        self._transport.send(Request("DELETE", path_of("secrets", secret)))
