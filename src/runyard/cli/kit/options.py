"""Arguments and options that several commands share. Owns the small value syntaxes: durations, sizes, variables."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import click

from runyard.cli.kit.known import (
    complete_checkpoints,
    complete_executions,
    complete_runtimes,
    complete_tokens,
    complete_workspaces,
)
from runyard.client.errors import ClientError

Function = TypeVar("Function", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds a parameter to a function and returns it."""

    def __call__(self, function: Function, /) -> Function:
        """Decorate."""
        ...


_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MEBIBYTES = {"m": 1, "g": 1_024}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Duration(click.ParamType[int]):
    """A length of time: `90`, `90s`, `5m`, `2h`, `30d`; whole seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return the seconds."""
        text = str(value)
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
        if match is None:
            self.fail(f"{text!r} is not a duration; write 90, 90s, 5m, 2h or 30d", param, ctx)
        return int(match[1]) * _SECONDS[match[2] or "s"]


class Memory(click.ParamType[int]):
    """A size of memory: `512` or `512M` are mebibytes, `2G` gibibytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return the mebibytes."""
        text = str(value)
        match = re.fullmatch(r"(\d{1,9})([mMgG]?)(i?[bB])?", text)
        if match is None:
            self.fail(f"{text!r} is not a size; write 512M or 2G", param, ctx)
        return int(match[1]) * _MEBIBYTES[(match[2] or "m").lower()]


def runtime_argument(name: str = "runtime") -> Decorator:
    """Add an argument that names one runtime."""
    return click.argument(name, metavar="RUNTIME", shell_complete=complete_runtimes)


def runtimes_argument() -> Decorator:
    """Add an argument that names one runtime or more."""
    return click.argument(
        "runtimes", metavar="RUNTIME...", nargs=-1, required=True, shell_complete=complete_runtimes
    )


def execution_argument(*, required: bool = True) -> Decorator:
    """Add an argument that names one execution."""
    return click.argument(
        "execution", metavar="EXECUTION", required=required, shell_complete=complete_executions
    )


def checkpoint_argument() -> Decorator:
    """Add an argument that names one checkpoint."""
    return click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_checkpoints)


def token_argument() -> Decorator:
    """Add an argument that names one token by its id."""
    return click.argument("token", metavar="TOKEN_ID", shell_complete=complete_tokens)


def workspace_argument() -> Decorator:
    """Add an argument that names one workspace."""
    return click.argument("workspace", metavar="WORKSPACE", shell_complete=complete_workspaces)


def limit_option(default: int = 50) -> Decorator:
    """Add `--limit`."""
    return click.option(
        "--limit", type=click.IntRange(1), default=default, show_default=True, help="At most so many."
    )


def yes_option() -> Decorator:
    """Add `--yes`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")


class Declined(ClientError):
    """Nothing was done."""

    code = "declined"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; without one the answer must be on the line, so that no script ever hangs."""
    if yes:
        return
    if not (os.isatty(0) and os.isatty(2)):
        raise click.UsageError(f"{question} There is no terminal to ask on: say --yes.")
    if not click.confirm(question, err=True):
        raise Declined


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` pairs; `NAME` alone takes the value from our environment, which keeps it off the line."""
    result: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if _VARIABLE.match(name) is None:
            raise click.UsageError(f"{name!r} is not the name of an environment variable")
        if not equals and name not in os.environ:
            raise click.UsageError(f"the environment variable {name} is not set here; write {name}=VALUE")
        result[name] = value if equals else os.environ[name]
    return result
