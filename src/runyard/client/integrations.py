"""Integrations with version control over the native API. Owns their paths and shapes; no answer holds a credential."""

from collections.abc import Sequence
from datetime import datetime

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Page, Wire


class Integration(Wire, frozen=True, kw_only=True):
    """Where repositories are."""

    id: str
    name: str
    type: str
    url: str
    username: str = ""
    has_credential: bool = False
    repositories: list[str] = []
    project: str = ""
    created_at: datetime | None = None
    fetched_at: datetime | None = None
    fetch_error: str = ""


class NewIntegration(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """What integration to add."""

    name: str
    type: str
    url: str = ""
    username: str = ""
    password: str = ""
    ssh_key: str = ""
    known_hosts: str = ""
    repositories: Sequence[str] = ()


class Integrations:
    """The integrations of the caller's part of the tree. Everything here needs the permission `admin`."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self) -> Sequence[Integration]:
        """Return the integrations, the oldest first."""
        request = Request("GET", path_of("integrations"), repeatable=True)
        return self._transport.call(request, Page[Integration]).items

    def create(self, new: NewIntegration) -> Integration:
        """Add an integration."""
        return self._transport.call(Request("POST", path_of("integrations"), json=new), Integration)

    def delete(self, integration: str) -> None:
        """Remove an integration by its id or name; workspaces that use it can be checked out no more."""
        self._transport.send(Request("DELETE", path_of("integrations", integration)))
