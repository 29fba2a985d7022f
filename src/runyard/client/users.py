"""Users and the roles of actions that they hold, over the native API. Owns their paths and bodies."""

from collections.abc import Sequence

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import ActionRoles, Page, User


class Users:
    """The users of the account. Everything here needs the permission `admin`."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self) -> Sequence[User]:
        """Return the users by name."""
        return self._transport.call(Request("GET", path_of("users"), repeatable=True), Page[User]).items

    def create(self, name: str, *, role: str = "none", kind: str = "user") -> User:
        """Add a user. `role` is `admin`, `operator`, `viewer` or `none`, `kind` is `user` or `service`."""
        body = {"name": name, "role": role, "kind": kind}
        return self._transport.call(Request("POST", path_of("users"), json=body), User)

    def roles(self) -> ActionRoles:
        """Return the roles of actions and who holds them."""
        return self._transport.call(Request("GET", path_of("action-roles"), repeatable=True), ActionRoles)

    def apply_roles(self, wanted: ActionRoles) -> ActionRoles:
        """Put roles and holders in the place of all that are there."""
        return self._transport.call(Request("PUT", path_of("action-roles"), json=wanted), ActionRoles)
