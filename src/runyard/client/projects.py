"""Projects over the native API. Owns their paths and bodies."""

from collections.abc import Sequence

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Member, Page, Project


class Projects:
    """The token's part of the tree. A `project` argument is an id or slugs below the token's project: `default/web`."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self) -> Sequence[Project]:
        """Return the token's project and all below it, parents first."""
        return self._transport.call(Request("GET", path_of("projects"), repeatable=True), Page[Project]).items

    def create(self, slug: str, *, parent: str | None = None, name: str | None = None) -> Project:
        """Add a project below another, by default below the token's own. Needs the permission `admin`."""
        given = {"slug": slug, "parent": parent, "name": name}
        body = {key: value for key, value in given.items() if value is not None}
        return self._transport.call(Request("POST", path_of("projects"), json=body), Project)

    def delete(self, project: str) -> None:
        """Delete a project on which nothing hangs. Needs the permission `admin`."""
        self._transport.send(Request("DELETE", path_of("projects", project)))

    def members(self, project: str) -> Sequence[Member]:
        """Return who has a role on a project itself. Needs the permission `admin`, as the two below."""
        request = Request("GET", path_of("projects", project, "members"), repeatable=True)
        return self._transport.call(request, Page[Member]).items

    def set_member(self, project: str, user: str, role: str) -> Member:
        """Give a user a role on a project and all below it: `admin`, `operator` or `viewer`."""
        path = path_of("projects", project, "members", user)
        return self._transport.call(Request("PUT", path, json={"role": role}), Member)

    def remove_member(self, project: str, user: str) -> None:
        """Take the role of a user on a project away."""
        self._transport.send(Request("DELETE", path_of("projects", project, "members", user)))
