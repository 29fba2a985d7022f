"""Typed client of the native API; what the command line uses. Never imports the server.

    from runyard.client import Client

    with Client("http://127.0.0.1:8080", token) as runyard:
        web = runyard.runtimes.create(name="web")
        print(runyard.runtimes.exec(web.id, "python3", ["-V"]).stdout)

Names load when used, because the HTTP library costs more start-up time than a whole short command.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.client.client import Client
    from runyard.client.errors import ApiError, ClientError, Unreachable

__all__ = ["ApiError", "Client", "ClientError", "Unreachable"]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name == "Client":
        from runyard.client.client import Client

        return Client
    if name in __all__:
        from runyard.client import errors

        found: object = getattr(errors, name)
        return found
    raise AttributeError(f"module 'runyard.client' has no attribute {name!r}")
