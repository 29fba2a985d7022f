"""`runyard execution`. Owns the commands on the ledger."""

from typing import TypedDict, Unpack

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.exits import OK
from runyard.cli.kit.known import complete_executions, complete_runtimes
from runyard.cli.kit.options import confirm, execution_argument, limit_option, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

execution = LazyGroup(
    "execution",
    summary="Look into the ledger: everything that ran, runs or waits.",
    examples=(
        "runyard execution list --status failed --limit 10",
        "runyard execution get 6745a2f09b1c8e5d3f7a0b12",
        "runyard execution tail 6745a2f09b1c8e5d3f7a0b12",
        "runyard execution search 6745a2f09b1c8e5d3f7a0b12 'Traceback'",
    ),
    members={
        "list": Member("runyard.cli.execution:list_", "List executions, filtered."),
        "get": Member("runyard.cli.execution:get", "Show one execution."),
        "history": Member(
            "runyard.cli.execution:history", "Show what happened to an execution, when and why."
        ),
        "cancel": Member("runyard.cli.execution:cancel", "End executions."),
        "tail": Member("runyard.cli.execution:tail", "Follow the output until the end."),
        "wait": Member("runyard.cli.execution:wait", "Wait for the end and return its exit status."),
        "search": Member("runyard.cli.execution:search", "Search the whole output of an execution."),
    },
)


class ListGiven(TypedDict):
    """The filters of `execution list`."""

    kind: str | None
    status: str | None
    runtime: str | None
    actor: str | None
    door: str | None
    parent: str | None
    text: str | None
    since: str | None
    until: str | None
    limit: int


@command(
    "list",
    examples=(
        "runyard execution list",
        "runyard execution list --status failed,timeout --runtime web",
        "runyard execution list --text pytest --since 2026-01-01T00:00:00Z --json | jq '.items[].exit_code'",
    ),
)
@click.option("--kind", help="Only this kind, e.g. exec.")
@click.option("--status", help="Only these, separated by commas: running, succeeded, failed, timeout ...")
@click.option("--runtime", metavar="RUNTIME", shell_complete=complete_runtimes, help="Only in this runtime.")
@click.option("--actor", help="Only by this actor.")
@click.option("--door", help="Only what came in by this API, e.g. native, runta.")
@click.option("--parent", metavar="EXECUTION", shell_complete=complete_executions, help="Only its children.")
@click.option("--text", help="Only where the command or name has this text.")
@click.option("--since", metavar="TIME", help="Only created at or after, e.g. 2026-01-31T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Only created before.")
@limit_option()
@click.pass_obj
def list_(state: State, /, **given: Unpack[ListGiven]) -> None:
    """List executions, newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import EXECUTION_COLUMNS
    from runyard.client.models import ExecutionFilter

    status, runtime, parent = given["status"], given["runtime"], given["parent"]
    with state.client() as client:
        wanted = ExecutionFilter(
            kind=given["kind"],
            status=tuple(status.split(",")) if status else (),
            place=client.runtimes.identify(reference(runtime)) if runtime else None,
            actor=given["actor"],
            door=given["door"],
            parent=reference(parent) if parent else None,
            text=given["text"],
            created_after=given["since"],
            created_before=given["until"],
        )
        rows = list(client.executions.list(wanted, limit=given["limit"]))
    print_list(state, rows, EXECUTION_COLUMNS, name=lambda one: one.id, empty="no execution matches")


@command(
    "get",
    examples=(
        "runyard execution get 6745a2f09b1c8e5d3f7a0b12",
        "runyard execution get 6745a2f09b1c8e5d3f7a0b12 --json | jq .exit_code",
    ),
)
@execution_argument()
@click.pass_obj
def get(state: State, /, execution: str) -> None:
    """Show one execution."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import EXECUTION_DETAILS

    with state.client() as client:
        found = client.executions.get(reference(execution))
    print_one(state, found, EXECUTION_DETAILS, name=lambda one: one.id)


@command("history", names=False, examples=("runyard execution history 6745a2f09b1c8e5d3f7a0b12",))
@execution_argument()
@click.pass_obj
def history(state: State, /, execution: str) -> None:
    """Show what happened to an execution, when, by whom and why; oldest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import EVENT_COLUMNS

    with state.client() as client:
        rows = client.executions.history(reference(execution))
    print_list(state, rows, EVENT_COLUMNS, name=lambda one: one.type, empty="no history is kept")


@command(
    "cancel",
    examples=(
        "runyard execution cancel 6745a2f09b1c8e5d3f7a0b12",
        "runyard ps --output name | xargs -r runyard execution cancel --yes --reason 'going home'",
    ),
)
@click.argument(
    "executions", metavar="EXECUTION...", nargs=-1, required=True, shell_complete=complete_executions
)
@click.option("--reason", help="Why; kept in the history.")
@yes_option()
@click.pass_obj
def cancel(state: State, /, executions: tuple[str, ...], reason: str | None, yes: bool) -> None:
    """End executions: waiting ones at once, running ones by a signal."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import EXECUTION_COLUMNS

    wanted = [reference(one) for one in executions]
    if len(wanted) > 1:
        confirm(f"Cancel {len(wanted)} executions?", yes=yes)
    with state.client() as client:
        rows = [client.executions.cancel(one, reason) for one in wanted]
    print_list(state, rows, EXECUTION_COLUMNS, name=lambda one: one.id, empty="")


@command(
    "tail",
    names=False,
    examples=(
        "runyard execution tail 6745a2f09b1c8e5d3f7a0b12",
        "runyard execution tail --offset 4096 6745a2f09b1c8e5d3f7a0b12",
    ),
)
@execution_argument()
@click.option("--offset", type=click.IntRange(0), default=0, help="Start at this byte of the log.")
@click.pass_obj
def tail(state: State, /, execution: str, offset: int) -> int:
    """Follow the output until the execution ends; the same as `runyard logs -f`."""
    from runyard.cli.logs import follow_log
    from runyard.client.executions import Follow

    with state.client() as client:
        return follow_log(state, client, reference(execution), Follow(offset=offset))


@command(
    "wait",
    remote=True,
    names=False,
    examples=(
        "runyard execution wait 6745a2f09b1c8e5d3f7a0b12",
        "runyard execution wait $id --json | jq .status",
    ),
)
@execution_argument()
@click.pass_obj
def wait(state: State, /, execution: str) -> int:
    """Wait until an execution ended, whichever way, and return its exit status.

    Without one of its own: 0 for succeeded, 124 for timeout, 125 for all others.
    """
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import EXECUTION_DETAILS

    with state.client() as client:
        found = client.executions.wait(
            reference(execution), on_reconnect=lambda reason: state.say(f"reconnecting ({reason})")
        )
    print_one(state, found, EXECUTION_DETAILS, name=lambda one: one.id)
    if found.exit_code is not None and 0 <= found.exit_code <= 255:
        return found.exit_code
    return {"succeeded": 0, "timeout": 124}.get(found.status, 125)


@command(
    "search",
    names=False,
    examples=(
        "runyard execution search 6745a2f09b1c8e5d3f7a0b12 'Traceback'",
        "runyard execution search -i 6745a2f09b1c8e5d3f7a0b12 error --json | jq .total",
    ),
)
@execution_argument()
@click.argument("text")
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same.")
@limit_option(100)
@click.pass_obj
def search(state: State, /, execution: str, text: str, ignore_case: bool, limit: int) -> int:
    """Search the whole output of an execution on the server. The count on stderr is exact, whatever the limit.

    Without a hit the exit status is 1, as with grep.
    """
    from runyard.cli.kit.output import clean, print_json, write_text

    with state.client() as client:
        found = client.executions.search(reference(execution), text, ignore_case=ignore_case, limit=limit)
    if state.as_json:
        print_json(found)
    else:
        numbered = (f"{hit.line_number}:" if hit.line_number is not None else "" for hit in found.hits)
        write_text("".join(f"{n}{clean(hit.line)}\n" for n, hit in zip(numbered, found.hits, strict=True)))
        state.say(
            f"{found.total} found" + (f", {len(found.hits)} shown" if len(found.hits) < found.total else "")
        )
    return OK if found.total else 1
