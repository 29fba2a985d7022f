"""The line of a command that runs something: options, then what to run. Owns where our options end and argv begins."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from runyard.cli.kit.commands import Command
from runyard.cli.kit.options import Duration, variables

if TYPE_CHECKING:
    from runyard.cli.remote import Wish

Function = TypeVar("Function", bound=Callable[..., Any])


class RemoteGiven(TypedDict):
    """The options of `exec` and `run` that say how to run."""

    argv: tuple[str, ...]
    shell: str | None
    interactive: bool
    tty: bool
    env: tuple[str, ...]
    cwd: str | None
    timeout: int | None


def remote_options(function: Function) -> Function:
    """Add the options that `exec` and `run` share, and the argv."""
    decorators = [
        click.argument("argv", metavar="[-- ARGV...]", nargs=-1, type=click.UNPROCESSED),
        click.option("-c", "shell", metavar="LINE", help="Run a line of shell instead of an argv."),
        click.option("-i", "--interactive", is_flag=True, help="Forward our stdin."),
        click.option("-t", "--tty", is_flag=True, help="Give the command a terminal."),
        click.option(
            "-e",
            "--env",
            metavar="NAME[=VALUE]",
            multiple=True,
            help="Set a variable; NAME alone copies ours.",
        ),
        click.option("--cwd", metavar="DIR", help="Working directory inside."),
        click.option("--timeout", type=Duration(), help="Kill it after so long: 90, 5m, 2h."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def wish_of(given: RemoteGiven) -> "Wish":
    """Check the options against each other. Raises click.UsageError."""
    from runyard.cli.remote import Wish

    argv, shell = given["argv"], given["shell"]
    if bool(argv) == (shell is not None):
        raise click.UsageError("say what to run: either `-- ARGV...` or `-c LINE`")
    if shell == "" or (argv and not argv[0]):
        raise click.UsageError("the command is empty")
    return Wish(
        argv=argv,
        shell=shell,
        env=variables(given["env"]),
        cwd=given["cwd"],
        timeout_secs=given["timeout"],
        interactive=given["interactive"],
        tty=given["tty"],
    )


class RemoteCommand(Command):
    """A command whose last argument is an argv: our options may stand anywhere before it, none behind it is ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the `--` where the argv begins when the user left it out."""
        return super().parse_args(ctx, self.separated(args))

    def separated(self, args: Sequence[str]) -> list[str]:
        """Return the arguments with a `--` before the argv."""
        left = sum(1 for one in self.params if isinstance(one, click.Argument) and one.nargs == 1)
        index = 0
        while index < len(args):
            arg = args[index]
            if arg == "--":
                break
            if len(arg) > 1 and arg.startswith("-"):
                index += 1 + self._takes_next(arg)
                continue
            if left == 0:
                return [*args[:index], "--", *args[index:]]
            left -= 1
            index += 1
        return list(args)

    def _takes_next(self, arg: str) -> bool:
        """Tell whether an option's value is the next argument."""
        with_value = {
            name
            for one in self.params
            if isinstance(one, click.Option) and not one.is_flag
            for name in one.opts
        }
        if arg.startswith("--"):
            return arg in with_value
        for position, letter in enumerate(arg[1:], start=1):
            if f"-{letter}" in with_value:
                return position == len(arg) - 1
        return False
