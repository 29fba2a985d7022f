"""`runyard runtime`. Owns the commands on runtimes' lives; files are in `files`."""

from typing import TYPE_CHECKING, Unpack

import click

from runyard.cli.creating import RuntimeGiven, new_runtime, runtime_options
from runyard.cli.kit.commands import Command, LazyGroup, Member, command
from runyard.cli.kit.options import (
    confirm,
    limit_option,
    runtime_argument,
    runtimes_argument,
    variables,
    yes_option,
)
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.models import Runtime

runtime = LazyGroup(
    "runtime",
    summary="Create, list and manage runtimes: lasting, isolated places in which commands run.",
    examples=(
        "runyard runtime create web --memory 2G",
        "runyard runtime list",
        "runyard runtime cp ./app.tar web:/srv/",
        "runyard runtime delete web",
    ),
    members={
        "create": Member("runyard.cli.runtime:create", "Create a runtime."),
        "list": Member("runyard.cli.runtime:list_", "List runtimes."),
        "get": Member("runyard.cli.runtime:get", "Show one runtime."),
        "delete": Member("runyard.cli.runtime:delete", "Delete runtimes with their files."),
        "start": Member("runyard.cli.runtime:start", "Start stopped runtimes."),
        "stop": Member("runyard.cli.runtime:stop", "Stop runtimes; their files stay."),
        "pause": Member("runyard.cli.runtime:pause", "Freeze all processes of runtimes."),
        "resume": Member("runyard.cli.runtime:resume", "Let paused or suspended runtimes go on."),
        "cp": Member("runyard.cli.files:cp", "Copy a file into a runtime or out of it."),
        "files": Member("runyard.cli.files:files", "Read and write single files of a runtime."),
    },
)


class CreateGiven(RuntimeGiven):
    """All options of `runtime create`."""

    name_argument: str | None
    env: tuple[str, ...]
    wait: bool


@command(
    "create",
    examples=(
        "runyard runtime create web",
        "runyard runtime create --memory 2G --cpus 2 --network none build",
        "runyard runtime create copy --checkpoint web-clean",
        "runyard runtime create agent --secret-env API_KEY=api-key --secret-file .netrc=netrc",
        'id=$(runyard runtime create --output name) && runyard exec "$id" -- true',
    ),
)
@click.argument("name_argument", metavar="[NAME]", required=False)
@runtime_options
@click.option(
    "-e", "--env", metavar="NAME[=VALUE]", multiple=True, help="A variable for every command in it."
)
@click.option("--wait/--no-wait", default=True, help="Wait until it is running (the default).")
@click.pass_obj
def create(state: State, /, **given: Unpack[CreateGiven]) -> None:
    """Create a runtime and wait until it is running."""
    if given["name_argument"] is not None and given["name"] is not None:
        raise click.UsageError("give the name once: as NAME or with --name")
    given["name"] = given["name_argument"] or given["name"]
    wanted = new_runtime(given, variables(given["env"]))
    with state.client() as client:
        made = client.runtimes.create(wanted)
        if given["wait"] and made.status != "running":
            made = client.runtimes.wait_ready(made.id)
    _show(state, made)


@command(
    "list",
    examples=(
        "runyard runtime list",
        "runyard runtime list --status paused,suspended",
        "runyard runtime list --json | jq -r '.items[].id'",
    ),
)
@click.option("--status", help="Only these, separated by commas: running, paused, shutdown ...")
@limit_option(200)
@click.pass_obj
def list_(state: State, /, status: str | None, limit: int) -> None:
    """List runtimes, newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import RUNTIME_COLUMNS

    with state.client() as client:
        rows = list(client.runtimes.list(status=status.split(",") if status else (), limit=limit))
    print_list(state, rows, RUNTIME_COLUMNS, name=lambda one: one.id, empty="there are no runtimes")


@command("get", examples=("runyard runtime get web", "runyard runtime get web --json | jq .status"))
@runtime_argument()
@click.pass_obj
def get(state: State, /, runtime: str) -> None:
    """Show one runtime."""
    with state.client() as client:
        _show(state, client.runtimes.get(reference(runtime)))


@command(
    "delete",
    examples=(
        "runyard runtime delete web",
        "runyard runtime list --status crashed --output name | xargs -r runyard runtime delete --yes",
    ),
)
@runtimes_argument()
@yes_option()
@click.pass_obj
def delete(state: State, /, runtimes: tuple[str, ...], yes: bool) -> None:
    """Delete runtimes with their files. Checkpoints, and the record of what ran, stay."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in runtimes]
    confirm(f"Delete {', '.join(wanted)} with all files?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.runtimes.delete(one)
    print_deleted(state, "runtime", wanted)


def _order(verb: str, text: str, example: str) -> Command:
    """Make the command for one order."""

    @command(verb, examples=(f"runyard runtime {verb} web", example))
    @runtimes_argument()
    @click.pass_obj
    def order(state: State, /, runtimes: tuple[str, ...]) -> None:
        from runyard.cli.kit.output import print_list
        from runyard.cli.views import RUNTIME_COLUMNS

        with state.client() as client:
            rows = [client.runtimes.order(reference(one), verb) for one in runtimes]
        print_list(state, rows, RUNTIME_COLUMNS, name=lambda one: one.id, empty="")

    order.help = text
    return order


start = _order(
    "start",
    "Start stopped or crashed runtimes: fresh processes over the same files.",
    "runyard runtime start web db",
)
stop = _order(
    "stop",
    "Stop runtimes: their processes end, their files stay.",
    "runyard runtime stop web --json | jq .items[].status",
)
pause = _order(
    "pause",
    "Freeze all processes of runtimes; they keep their memory.",
    "runyard runtime pause web --output json",
)
resume = _order("resume", "Let paused or suspended runtimes go on.", "runyard runtime resume web db")


def _show(state: State, one: "Runtime") -> None:
    """Print one runtime with all there is to say."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import RUNTIME_COLUMNS

    print_one(state, one, RUNTIME_COLUMNS, name=lambda it: it.id)
