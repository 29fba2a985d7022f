"""`runyard state`. Owns the commands on Terraform states: history, content, lock. Terraform itself writes states."""

from pathlib import Path

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.options import confirm, limit_option, workspace_argument, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

state = LazyGroup(
    "state",
    summary="Look at the Terraform states of workspaces and their locks.",
    examples=(
        "runyard state history network-prod",
        "runyard state pull network-prod --version 12 > before.json",
        "runyard state lock network-prod             # who holds it",
        "runyard state unlock network-prod",
    ),
    members={
        "history": Member("runyard.cli.state:history", "List the versions of a state."),
        "pull": Member("runyard.cli.state:pull", "Print a state."),
        "lock": Member("runyard.cli.state:lock", "Show who holds the lock."),
        "unlock": Member("runyard.cli.state:unlock", "Break a lock."),
    },
)


@command(
    "history", examples=("runyard state history network-prod", "runyard state history network-prod --json")
)
@workspace_argument()
@limit_option()
@click.pass_obj
def history(state: State, /, workspace: str, limit: int) -> None:
    """List the versions of a workspace's state, the newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import STATE_COLUMNS

    with state.client() as client:
        rows = client.states.history(reference(workspace), limit)
    print_list(state, rows, STATE_COLUMNS, name=lambda one: str(one.number), empty="there is no state yet")


@command(
    "pull",
    names=False,
    examples=(
        "runyard state pull network-prod | jq .outputs",
        "runyard state pull network-prod --version 12 --to before.json",
    ),
)
@workspace_argument()
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Number of the version; default: the newest."
)
@click.option(
    "--to",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File to write, readable by you alone; default: stdout.",
)
@click.pass_obj
def pull(state: State, /, workspace: str, number: int | None, to: Path | None) -> None:
    """Print a state exactly as Terraform wrote it. It holds secrets in the clear."""
    import os

    from runyard.cli.kit.output import write_bytes

    wanted = reference(workspace)
    with state.client() as client, client.states.content(wanted, number) as pieces:
        target = 1
        if to is not None:
            target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for piece in pieces:
                write_bytes(target, piece)
        finally:
            if to is not None:
                os.close(target)


@command(
    "lock",
    examples=("runyard state lock network-prod", "runyard state lock network-prod --json | jq -r .who"),
)
@workspace_argument()
@click.pass_obj
def lock(state: State, /, workspace: str) -> None:
    """Show who holds the lock on a workspace's state. The exit status says when nobody does."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import STATE_LOCK_COLUMNS

    with state.client() as client:
        held = client.states.lock(reference(workspace))
    print_one(state, held, STATE_LOCK_COLUMNS, name=lambda one: one.id)


@command(
    "unlock",
    examples=("runyard state unlock network-prod", "runyard state unlock network-prod --id 3f6a... --yes"),
)
@workspace_argument()
@click.option("--id", "lock_id", metavar="LOCK", help="Only the lock of this id.")
@yes_option()
@click.pass_obj
def unlock(state: State, /, workspace: str, lock_id: str | None, yes: bool) -> None:
    """Break the lock on a workspace's state. What its holder writes after that is refused."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import STATE_LOCK_COLUMNS

    wanted = reference(workspace)
    confirm(f"Break the lock on the state of {wanted}?", yes=yes)
    with state.client() as client:
        broken = client.states.break_lock(wanted, lock_id)
    print_one(state, broken, STATE_LOCK_COLUMNS, name=lambda one: one.id)
