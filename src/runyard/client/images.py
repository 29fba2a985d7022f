"""Bases and images over the native API. Owns their paths and bodies."""

from collections.abc import Sequence

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Image, Page

IMPORT_SECONDS = 3600.0


class Images:
    """What runtimes can be made from. Importing and removing need the permission `admin`."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self) -> Sequence[Image]:
        """Return all bases: the host, folders of the settings, imported images."""
        return self._transport.call(Request("GET", path_of("images"), repeatable=True), Page[Image]).items

    def import_layout(self, name: str, path: str) -> Image:
        """Import the OCI image layout in a folder of the server's host; returns when it is unpacked."""
        body = {"name": name, "path": path}
        request = Request("POST", path_of("images"), json=body, timeout=IMPORT_SECONDS)
        return self._transport.call(request, Image)

    def remove(self, name: str) -> None:
        """Remove an imported image; runtimes that live on it go on."""
        self._transport.send(Request("DELETE", path_of("images", name), timeout=120.0))
