"""The click classes of this command line. Owns lazy loading, the help layout and the options that all commands share.

A help page opens with examples and closes with the table of exit statuses. Loading a group imports nothing of its commands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import click

from runyard.cli.kit.exits import CONTROL_TABLE, REMOTE_TABLE
from runyard.cli.kit.state import State

Callback = TypeVar("Callback", bound=Callable[..., Any])


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> object:
    """Store a shared option in the state; a later place on the line wins, an option not given changes nothing."""
    if value not in (None, False):
        setattr(ctx.ensure_object(State), str(param.name), value)
    return value


def _shared(
    name: str, explain: str, kind: "click.ParamType[Any] | type[str] | None" = None, *more: str
) -> click.Option:
    """Make one option that lands in the state and not in the callback; without a kind it is a flag."""
    if kind is None:
        return click.Option([name, *more], help=explain, is_flag=True, expose_value=False, callback=_keep)
    return click.Option([name, *more], help=explain, type=kind, expose_value=False, callback=_keep)


def talk_options() -> list[click.Parameter]:
    """Return the options that every command and every group has."""
    return [
        _shared("--profile", "Use this profile instead of the active one.", str),
        _shared("--quiet", "No progress or notices on stderr.", None, "-q"),
        _shared("--no-color", "No colour; the same as NO_COLOR=1."),
    ]


def data_options(*, names: bool) -> list[click.Parameter]:
    """Return the options of commands that print data."""
    formats = ["table", "json", "name"] if names else ["table", "json"]
    options: list[click.Parameter] = [
        _shared("--json", "Print JSON with stable keys; errors as JSON on stderr."),
        _shared("--output", "How to print.", click.Choice(formats)),
    ]
    if names:
        options.append(_shared("--wide", "Do not cut long values; more columns."))
    return options


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write the examples, one shell line each; a line may carry a comment behind two blanks and a `#`."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def write_exits(formatter: click.HelpFormatter, *, remote: bool) -> None:
    """Write the table of exit statuses that applies to the command."""
    with formatter.section("Exit status"):
        table = REMOTE_TABLE if remote else CONTROL_TABLE
        formatter.write_dl([(str(status), meaning) for status, meaning in table])


class ReaderGone(Exception):
    """Whoever read our stdout left."""


class Command(click.Command):
    """A command with examples, the shared options and a known meaning of its exit status."""

    examples: Sequence[str] = ()
    remote: bool = False
    """The exit status is that of something that ran remotely."""

    def invoke(self, ctx: click.Context) -> object:
        """Note which table of exit statuses applies, then run."""
        ctx.ensure_object(State).remote = self.remote
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Unwrapped, click would end the process with 1, which exec would pass off as the command's own status.
            raise ReaderGone from error

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, usage, text, options and exit statuses, in this order."""
        write_examples(formatter, self.examples)
        formatter.write_paragraph()
        super().format_help(ctx, formatter)
        write_exits(formatter, remote=self.remote)


@dataclass(frozen=True)
class Member:
    """A line in a group's table: where the command lives and what one line says about it."""

    target: str
    """`module:attribute`."""
    summary: str


class LazyGroup(click.Group):
    """A group that knows its members by name and loads one only when it is called."""

    def __init__(
        self,
        name: str,
        *,
        summary: str,
        examples: Sequence[str],
        members: Mapping[str, Member],
    ) -> None:
        """Take the table of members; nothing is imported."""
        super().__init__(name, help=summary)
        self.params.extend(talk_options())
        self.members = members
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table, which is the order of use."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one member."""
        member = self.members.get(cmd_name)
        if member is None:
            return None
        module, _, attribute = member.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples first and exit statuses last."""
        write_examples(formatter, self.examples)
        formatter.write_paragraph()
        super().format_help(ctx, formatter)
        write_exits(formatter, remote=False)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the members from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, member.summary) for name, member in self.members.items()])


def command(
    name: str,
    *,
    examples: Sequence[str],
    remote: bool = False,
    data: bool = True,
    names: bool = True,
    kind: type[Command] = Command,
) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function. `data` adds `--json`, `names` adds `--output name` and `--wide`."""

    def decorate(callback: Callable[..., Any]) -> Command:
        made: Command = click.command(name, cls=kind)(callback)
        made.examples = examples
        made.remote = remote
        if data:
            made.params.extend(data_options(names=names))
        made.params.extend(talk_options())
        return made

    return decorate
