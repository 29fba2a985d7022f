"""The commands of `runyard workspace` on runs. Owns how a run is followed and which exit status it ends with."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from runyard.cli.kit.commands import command
from runyard.cli.kit.exits import FAILED, OK, REFUSED
from runyard.cli.kit.options import limit_option, workspace_argument
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.client import Client
    from runyard.client.workspaces import Run

_RUN = "01a21d55-8458-7e8d-ab75-56d2f9828ef5"


def _of_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every new run may be told: the workspace, which code of it, and arguments of the tool."""
    for decorate in (
        click.option("--commit", default="", help="One commit."),
        click.option("--branch", default="", help="Another branch than that of the workspace."),
        click.option(
            "--arguments", default="", help="Extra arguments of the tool; only safe ones are let through."
        ),
        workspace_argument(),
    ):
        function = decorate(function)
    return function


@command(
    "plan",
    examples=("runyard workspace plan net", 'runyard workspace plan net --arguments "-target=module.vpc"'),
)
@_of_code
@click.option("--destroy", is_flag=True, help="Plan the destruction of everything, and wait for approval.")
@click.option("--detach", is_flag=True, help="Do not wait.")
@click.pass_obj
def plan(state: State, /, workspace: str, destroy: bool, detach: bool, **given: str) -> int:
    """Plan, follow the output, and print the run. Ctrl-C only detaches; `workspace cancel` stops a run."""
    return _start(state, workspace, {"kind": "destroy" if destroy else "plan", **given}, detach=detach)


@command(
    "apply",
    examples=("runyard workspace apply net --auto", "runyard workspace apply net --detach"),
)
@_of_code
@click.option("--auto", is_flag=True, help="Apply without asking when guardrails allow it.")
@click.option("--detach", is_flag=True, help="Do not wait.")
@click.pass_obj
def apply(state: State, /, workspace: str, auto: bool, detach: bool, **given: str) -> int:
    """Plan and apply. Without --auto the plan waits for `workspace approve`, unless the workspace applies by itself."""
    body: dict[str, object] = {"kind": "apply", **given}
    if auto:
        body["auto_apply"] = True
    return _start(state, workspace, body, detach=detach)


@command("runs", examples=("runyard workspace runs net", "runyard workspace runs net --json"))
@workspace_argument()
@limit_option()
@click.pass_obj
def runs(state: State, /, workspace: str, limit: int) -> None:
    """List the runs of a workspace, the newest first. `runyard logs` prints what the tasks PLAN and APPLY (--wide) printed."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import RUN_COLUMNS

    with state.client() as client:
        rows = client.workspaces.runs(reference(workspace), limit=limit)
    print_list(state, rows, RUN_COLUMNS, name=lambda one: one.id, empty="there are no runs")


@command(
    "run", examples=(f"runyard workspace run {_RUN}", f"runyard workspace run {_RUN} --json | jq .counts")
)
@click.argument("run")
@click.pass_obj
def run(state: State, /, run: str) -> None:
    """Show one run. `runyard logs` prints what its tasks PLAN and APPLY printed."""
    with state.client() as client:
        _show(state, client.workspaces.run(reference(run)))


@command(
    "verdict",
    names=False,
    examples=(
        f"runyard workspace verdict {_RUN}",
        f"runyard workspace verdict {_RUN} --json | jq -r '.rules[].rule_name'",
    ),
)
@click.argument("run")
@click.pass_obj
def verdict(state: State, /, run: str) -> int:
    """Show what guardrails say of the plan of a run: the violations; with --json also the rules that found nothing.

    The exit status is 5 when the plan may not be applied as things are.
    """
    from runyard.cli.kit.output import print_json, print_list
    from runyard.cli.views import VIOLATION_COLUMNS

    with state.client() as client:
        found = client.workspaces.verdict(reference(run))
    if state.as_json:
        print_json(found)
    else:
        none = f"{len(found.rules)} guardrails, no violation"
        print_list(state, found.violations, VIOLATION_COLUMNS, name=lambda one: one.rule_id, empty=none)
        if found.acknowledged_by:
            state.say(f"acknowledged by {found.acknowledged_by}")
    return REFUSED if found.stops else OK


@command("approve", examples=(f"runyard workspace approve {_RUN}",))
@click.argument("run")
@click.option("--detach", is_flag=True, help="Do not wait.")
@click.pass_obj
def approve(state: State, /, run: str, detach: bool) -> int:
    """Let a plan that waits be applied, and follow the output. Where a flexible guardrail stopped it, this acknowledges
    that. Needs the permission workspaces:approve.
    """
    with state.client() as client:
        after = client.workspaces.decide(reference(run), "approve")
        return _print(state, after if detach else _followed(state, client, after))


@command("discard", examples=(f"runyard workspace discard {_RUN}",))
@click.argument("run")
@click.pass_obj
def discard(state: State, /, run: str) -> int:
    """Give up a run that waits for approval or in line."""
    with state.client() as client:
        _print(state, client.workspaces.decide(reference(run), "discard"))
    return OK


@command("cancel", examples=(f"runyard workspace cancel {_RUN}",))
@click.argument("run")
@click.pass_obj
def cancel(state: State, /, run: str) -> int:
    """Stop a run: the tool is interrupted first, so that it can write its state."""
    with state.client() as client:
        _print(state, client.workspaces.decide(reference(run), "cancel"))
    return OK


def _start(state: State, workspace: str, body: dict[str, Any], *, detach: bool) -> int:
    with state.client() as client:
        made = client.workspaces.start(reference(workspace), body)
        return _print(state, made if detach else _followed(state, client, made))


def _followed(state: State, client: "Client", run: "Run") -> "Run":
    """Print the output of a run as it comes, to its end or to where it waits for a person; return it then."""
    from runyard.cli.logs import follow_log
    from runyard.client.executions import Follow

    seen: set[str] = set()
    while True:
        task = run.apply_task_id or run.plan_task_id
        if task not in seen:
            seen.add(task)
            if state.as_json or state.as_names:
                client.executions.wait(task)
            elif follow_log(state, client, task, Follow()) != OK:
                return client.workspaces.run(run.id)
        run = client.workspaces.run(run.id)
        waits = run.step == "approval" and not (run.status == "plan_success" and run.reason is None)
        if run.ended_at is not None or waits:
            return run
        _pause()


def _pause() -> None:
    import time

    time.sleep(0.2)


def _print(state: State, run: "Run") -> int:
    """Print a run with what to do about it, and return the exit status that it ends with."""
    _show(state, run)
    if run.status == "blocked":
        state.say(f"`runyard workspace verdict {run.id}` shows the violations")
    if run.ended_at is None and run.step == "approval":
        state.say(f"`runyard workspace approve {run.id}` lets it go on")
    if run.status == "blocked":
        return REFUSED
    return FAILED if run.failed else OK


def _show(state: State, run: "Run") -> None:
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import RUN_DETAILS

    print_one(state, run, RUN_DETAILS, name=lambda one: one.id)
