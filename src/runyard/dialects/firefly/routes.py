"""The Firefly door: every operation as data, bound to its handler."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from runyard.dialects.door import Door, Handler, Route
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.errors import DOCUMENTED, ErrorOut, write_error
from runyard.dialects.firefly.login import LoginHandlers
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.wire import LoginIn, LoginOut

BASE: Final = "/v2"
RESOURCES: Final = (
    "login", "health", "workspaces", "guardrails", "runners", "governance", "users", "api/integrations", "api/vcs",
)  # fmt: skip
"""What the door's paths begin with, behind any of its prefixes."""
_ELSEWHERE: Final = {"/api/v2/workspaces/"}
"""Paths that another door speaks too, so that it has the word on what is unknown there."""


def route(method: str, path: str, name: str, summary: str, handler: Handler, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    """Return an operation by its path below the prefix; errors and the check of the key pair are the same for all."""
    return Route(
        method=method,
        path=f"{BASE}{path}",
        name=name,
        summary=summary,
        handler=handler if more.get("open") else reading.with_key_checked(handler),
        errors=DOCUMENTED,
        tags=[path.split("/")[1]],
        **more,
    )


def _login(h: LoginHandlers) -> Iterator[Route]:
    yield route(
        "POST", "/login", "login", "Log in with a key pair.", h.log_in,
        open=True, request=LoginIn, response=LoginOut,
    )  # fmt: skip
    yield route("GET", "/health", "health", "Say that the server answers.", h.health, open=True, status=204)


def register(services: FireflyServices) -> Door:
    """Build the door over the domain services."""
    return Door(
        name="firefly",
        title="Firefly: workspaces, plans, guardrails, variables",
        routes=tuple(itertools.chain(_login(LoginHandlers(services)))),
        prefixes=tuple(
            path for front in ("/", "/v2/", "/api/v2/") for name in RESOURCES
            if (path := f"{front}{name}/") not in _ELSEWHERE
        ),
        credential=reading.credential,
        write_error=write_error,
        error_body=ErrorOut,
        aliases=tuple(
            (f"{front}{name}/", f"{BASE}/{name}/") for front in ("/", "/api/v2/") for name in RESOURCES
        ),
    )  # fmt: skip
