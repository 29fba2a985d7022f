"""Fixtures of the command line's tests: a fake server, and command lines that talk to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli, Starter, TerminalStarter, environment_for


@pytest.fixture
def fake() -> Iterator[NativeServer]:
    """Serve the native API from memory."""
    with NativeServer() as one:
        yield one


@pytest.fixture
def cli_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Cli]:
    """Return a maker of command lines with a home of their own."""

    def make(url: str | None, token: str | None, **more: str) -> Cli:
        return Cli(monkeypatch, capfd, environment_for(tmp_path, url, token) | more)

    return make


@pytest.fixture
def cli(fake: NativeServer, cli_for: Callable[..., Cli]) -> Cli:
    """Return the command line, pointed at the fake by the environment."""
    return cli_for(fake.url, fake.token)


@pytest.fixture
def environment(fake: NativeServer, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process that talks to the fake."""
    return environment_for(tmp_path, fake.url, fake.token)


@pytest.fixture
def started(environment: dict[str, str]) -> Iterator[Starter]:
    """Return a starter of processes; what is left is killed at the end."""
    with Starter(environment) as starter:
        yield starter


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[TerminalStarter]:
    """Return a starter of command lines on terminals of their own; all are closed at the end."""
    with TerminalStarter(environment) as starter:
        yield starter
