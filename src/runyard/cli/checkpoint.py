"""`runyard checkpoint`. Owns the commands on copies of runtimes' files."""

from typing import TYPE_CHECKING

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.options import checkpoint_argument, confirm, limit_option, runtime_argument, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.models import Checkpoint

checkpoint = LazyGroup(
    "checkpoint",
    summary="Copy the files of runtimes, and make new runtimes from the copies. Memory is not captured.",
    examples=(
        "runyard checkpoint create web --name web-clean",
        "runyard checkpoint list",
        "runyard runtime create web2 --checkpoint web-clean",
    ),
    members={
        "create": Member("runyard.cli.checkpoint:create", "Copy the files of a runtime."),
        "list": Member("runyard.cli.checkpoint:list_", "List checkpoints."),
        "get": Member("runyard.cli.checkpoint:get", "Show one checkpoint."),
        "delete": Member("runyard.cli.checkpoint:delete", "Delete a checkpoint."),
    },
)


@command(
    "create", examples=("runyard checkpoint create web", "runyard checkpoint create web --name web-clean")
)
@runtime_argument()
@click.option("--name", help="Its name; by default the runtime's with a suffix.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is ready (the default).")
@click.pass_obj
def create(state: State, /, runtime: str, name: str | None, wait: bool) -> None:
    """Copy the writable files of a runtime; it is frozen for the moment of the copy. Memory is not captured."""
    with state.client() as client:
        made = client.checkpoints.create(reference(runtime), name)
        if wait and made.state != "ready":
            made = client.checkpoints.wait_ready(made.id)
    _show(state, made)


@command(
    "list", examples=("runyard checkpoint list", "runyard checkpoint list --json | jq -r '.items[].name'")
)
@limit_option(200)
@click.pass_obj
def list_(state: State, /, limit: int) -> None:
    """List checkpoints, newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import CHECKPOINT_COLUMNS

    with state.client() as client:
        rows = list(client.checkpoints.list(limit=limit))
    print_list(state, rows, CHECKPOINT_COLUMNS, name=lambda one: one.id, empty="there are no checkpoints")


@command("get", examples=("runyard checkpoint get web-clean", "runyard checkpoint get web-clean --json"))
@checkpoint_argument()
@click.pass_obj
def get(state: State, /, checkpoint: str) -> None:
    """Show one checkpoint."""
    with state.client() as client:
        _show(state, client.checkpoints.get(reference(checkpoint)))


@command(
    "delete", examples=("runyard checkpoint delete web-clean", "runyard checkpoint delete web-clean --yes")
)
@checkpoint_argument()
@yes_option()
@click.pass_obj
def delete(state: State, /, checkpoint: str, yes: bool) -> None:
    """Delete a checkpoint. Runtimes that were made from it stay as they are."""
    from runyard.cli.kit.output import print_deleted

    wanted = reference(checkpoint)
    confirm(f"Delete checkpoint {wanted}?", yes=yes)
    with state.client() as client:
        client.checkpoints.delete(wanted)
    print_deleted(state, "checkpoint", [wanted])


def _show(state: State, one: "Checkpoint") -> None:
    """Print one checkpoint with all there is to say."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import CHECKPOINT_COLUMNS

    print_one(state, one, CHECKPOINT_COLUMNS, name=lambda it: it.id)
