"""`runyard exec`. Owns the command; how it runs is in `remote`."""

from typing import Unpack

import click

from runyard.cli.invocation import RemoteCommand, RemoteGiven, remote_options, wish_of
from runyard.cli.kit.commands import command
from runyard.cli.kit.options import runtime_argument
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State


class ExecGiven(RemoteGiven):
    """All options of `exec`."""

    runtime: str


@command(
    "exec",
    kind=RemoteCommand,
    remote=True,
    names=False,
    examples=(
        "runyard exec web -- ls -la /",
        "runyard exec web -c 'cd /srv && make | tee log'",
        "runyard exec -it web -- bash",
        "tar c . | runyard exec -i web -- tar x -C /srv",
        "runyard exec --timeout 5m --json web -- pytest -q",
    ),
)
@runtime_argument()
@remote_options
@click.pass_obj
def exec_(state: State, /, **given: Unpack[ExecGiven]) -> int:
    """Run a command in a runtime.

    The exit status is that of the command. Without -i it reads an empty stdin. Ctrl-C is forwarded; a second one within
    two seconds kills. With --json nothing is printed until the end: then one document with stdout, stderr, exit_code
    and ended_by.
    """
    from runyard.cli.remote import ends_cleanly, run_remotely

    wish = wish_of(given)
    with ends_cleanly(), state.client() as client:
        return run_remotely(state, client, reference(given["runtime"]), wish)
