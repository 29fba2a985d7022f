"""`runyard workspace`. Owns the commands on workspaces and their runs."""

from typing import TYPE_CHECKING, Any

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.exits import FAILED, OK
from runyard.cli.kit.options import confirm, limit_option, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.client import Client
    from runyard.client.workspaces import Run

_WHERE = "runyard.cli.workspace"
_RUN = "01a21d55-8458-7e8d-ab75-56d2f9828ef5"

workspace = LazyGroup(
    "workspace",
    summary="Plan and apply infrastructure.",
    examples=(
        "runyard workspace create net --iac-type terraform --url https://github.com/acme/infra --branch main",
        "runyard workspace plan net",
        "runyard workspace apply net --auto",
        "runyard workspace runs net",
    ),
    members={
        "create": Member(f"{_WHERE}:create", "Add a workspace."),
        "list": Member(f"{_WHERE}:list_", "List workspaces."),
        "get": Member(f"{_WHERE}:get", "Show a workspace."),
        "delete": Member(f"{_WHERE}:delete", "Delete workspaces; their resources stay."),
        "lock": Member(f"{_WHERE}:lock", "Keep runs from beginning."),
        "unlock": Member(f"{_WHERE}:unlock", "Let runs begin again."),
        "plan": Member(f"{_WHERE}:plan", "Plan, and follow the output."),
        "apply": Member(f"{_WHERE}:apply", "Plan and apply, and follow the output."),
        "runs": Member(f"{_WHERE}:runs", "List the runs of a workspace."),
        "approve": Member(f"{_WHERE}:approve", "Let a plan that waits be applied."),
        "discard": Member(f"{_WHERE}:discard", "Give up a run that waits."),
        "cancel": Member(f"{_WHERE}:cancel", "Stop a run."),
    },
)


@command(
    "create",
    names=False,
    examples=(
        "runyard workspace create net --iac-type terraform --url https://github.com/acme/infra --branch main",
        "runyard workspace create db --integration 6745a2f09b1c8e5d3f7a0b12 --repository acme/infra --folder db",
        'runyard workspace create edge --url file:///srv/git/edge --cron "0 3 * * *" --label prod',
    ),
)
@click.argument("name")
@click.option("--url", "repository_url", default="", metavar="URL", help="Address of the repository.")
@click.option("--integration", "vcs_integration_id", default="", metavar="ID", help="How it is reached.")
@click.option("--repository", default="", metavar="NAME", help="Its name within the integration.")
@click.option("--branch", default="", help="Default: that of the repository.")
@click.option("--folder", "working_directory", default="", metavar="PATH", help="Where in it the code is.")
@click.option(
    "--iac-type", type=click.Choice(("opentofu", "terraform")), default="opentofu", help="The tool."
)
@click.option("--iac-version", default="", metavar="VERSION", help="Default: the newest that is installed.")
@click.option("--auto", is_flag=True, help="Apply without asking when guardrails allow it.")
@click.option("--cron", default="", metavar="EXPRESSION", help="When to look for drift, in UTC.")
@click.option("--label", "labels", multiple=True, metavar="TEXT", help="Repeat it.")
@click.option("--project", metavar="PROJECT", help="Id or slugs; default: that of the token.")
@click.pass_obj
def create(state: State, /, auto: bool, labels: tuple[str, ...], project: str | None, **given: str) -> None:
    """Add a workspace. Needs the permission workspaces:write."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import WORKSPACE_COLUMNS

    body: dict[str, object] = {**given, "labels": list(labels), "apply_rule": "auto" if auto else "manual"}
    if project is not None:
        body["project"] = project
    with state.client() as client:
        made = client.workspaces.create(body)
    print_one(state, made, WORKSPACE_COLUMNS, name=lambda one: one.id)


@command(
    "list", names=False, examples=("runyard workspace list", "runyard workspace list --text prod --json")
)
@click.option("--text", default="", help="A part of name, repository or a label.")
@limit_option()
@click.pass_obj
def list_(state: State, /, text: str, limit: int) -> None:
    """List workspaces, the newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import WORKSPACE_COLUMNS

    with state.client() as client:
        rows = client.workspaces.list(text=text, limit=min(limit, 1000))
    print_list(state, rows, WORKSPACE_COLUMNS, name=lambda one: one.id, empty="there are no workspaces")


@command("get", names=False, examples=("runyard workspace get net", "runyard workspace get net --json"))
@click.argument("name", metavar="WORKSPACE")
@click.pass_obj
def get(state: State, /, name: str) -> None:
    """Show a workspace by its name or id."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import WORKSPACE_COLUMNS

    with state.client() as client:
        print_one(state, client.workspaces.get(reference(name)), WORKSPACE_COLUMNS, name=lambda one: one.id)


@command("delete", names=False, examples=("runyard workspace delete net --yes",))
@click.argument("names", metavar="WORKSPACE...", nargs=-1, required=True)
@yes_option()
@click.pass_obj
def delete(state: State, /, names: tuple[str, ...], yes: bool) -> None:
    """Delete workspaces with their runs and their state. The resources stay where they are, known to nobody."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in names]
    confirm(f"Delete {', '.join(wanted)} with their states?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.workspaces.delete(one)
    print_deleted(state, "workspace", wanted)


@command("lock", names=False, examples=('runyard workspace lock net --reason "moving the network"',))
@click.argument("name", metavar="WORKSPACE")
@click.option("--reason", default="", help="Whoever has to wait reads it.")
@click.pass_obj
def lock(state: State, /, name: str, reason: str) -> None:
    """Keep runs of a workspace from beginning; those that are asked for wait."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import WORKSPACE_COLUMNS

    with state.client() as client:
        after = client.workspaces.lock(reference(name), reason)
    print_one(state, after, WORKSPACE_COLUMNS, name=lambda one: one.id)


@command(
    "unlock", names=False, examples=("runyard workspace unlock net", "runyard workspace unlock net --force")
)
@click.argument("name", metavar="WORKSPACE")
@click.option("--force", is_flag=True, help="Also when somebody else has locked it.")
@click.pass_obj
def unlock(state: State, /, name: str, force: bool) -> None:
    """Let runs of a workspace begin again."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import WORKSPACE_COLUMNS

    with state.client() as client:
        after = client.workspaces.unlock(reference(name), force=force)
    print_one(state, after, WORKSPACE_COLUMNS, name=lambda one: one.id)


@command(
    "plan",
    names=False,
    examples=("runyard workspace plan net", 'runyard workspace plan net --arguments "-target=module.vpc"'),
)
@click.argument("name", metavar="WORKSPACE")
@click.option("--arguments", default="", help="Extra arguments of the tool; only safe ones are let through.")
@click.option("--branch", default="", help="Another branch than that of the workspace.")
@click.option("--commit", default="", help="One commit.")
@click.option("--destroy", is_flag=True, help="Plan the destruction of everything, and wait for approval.")
@click.option("--detach", is_flag=True, help="Do not wait.")
@click.pass_obj
def plan(state: State, /, name: str, destroy: bool, detach: bool, **given: str) -> int:
    """Plan, follow the output, and print the run. Ctrl-C only detaches; `workspace cancel` stops a run."""
    return _start(state, name, {"kind": "destroy" if destroy else "plan", **given}, detach=detach)


@command(
    "apply",
    names=False,
    examples=("runyard workspace apply net --auto", "runyard workspace apply net --detach"),
)
@click.argument("name", metavar="WORKSPACE")
@click.option("--arguments", default="", help="Extra arguments of the tool; only safe ones are let through.")
@click.option("--branch", default="", help="Another branch than that of the workspace.")
@click.option("--commit", default="", help="One commit.")
@click.option("--auto", is_flag=True, help="Apply without asking when guardrails allow it.")
@click.option("--detach", is_flag=True, help="Do not wait.")
@click.pass_obj
def apply(state: State, /, name: str, auto: bool, detach: bool, **given: str) -> int:
    """Plan and apply. Without --auto the plan waits for `workspace approve`, unless the workspace applies by itself."""
    body: dict[str, object] = {"kind": "apply", **given}
    if auto:
        body["auto_apply"] = True
    return _start(state, name, body, detach=detach)


@command("runs", names=False, examples=("runyard workspace runs net", "runyard workspace runs net --json"))
@click.argument("name", metavar="WORKSPACE")
@limit_option()
@click.pass_obj
def runs(state: State, /, name: str, limit: int) -> None:
    """List the runs of a workspace, the newest first. `runyard logs` prints what the task PLAN or APPLY printed."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import RUN_COLUMNS

    with state.client() as client:
        rows = client.workspaces.runs(reference(name), limit=min(limit, 1000))
    print_list(state, rows, RUN_COLUMNS, name=lambda one: one.id, empty="there are no runs")


@command("approve", names=False, examples=(f"runyard workspace approve {_RUN}",))
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


@command("discard", names=False, examples=(f"runyard workspace discard {_RUN}",))
@click.argument("run")
@click.pass_obj
def discard(state: State, /, run: str) -> int:
    """Give up a run that waits for approval or in line."""
    with state.client() as client:
        _print(state, client.workspaces.decide(reference(run), "discard"))
    return OK


@command("cancel", names=False, examples=(f"runyard workspace cancel {_RUN}",))
@click.argument("run")
@click.pass_obj
def cancel(state: State, /, run: str) -> int:
    """Stop a run: the tool is interrupted first, so that it can write its state."""
    with state.client() as client:
        _print(state, client.workspaces.decide(reference(run), "cancel"))
    return OK


def _start(state: State, name: str, body: dict[str, Any], *, detach: bool) -> int:
    with state.client() as client:
        made = client.workspaces.start(reference(name), body)
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
            if not state.as_json and follow_log(state, client, task, Follow()) != OK:
                return client.workspaces.run(run.id)
            if state.as_json:
                client.executions.wait(task)
        run = client.workspaces.run(run.id)
        waits = run.step == "approval" and not (run.status == "plan_success" and run.reason is None)
        if run.ended_at is not None or waits:
            return run
        _pause()


def _pause() -> None:
    import time

    time.sleep(0.2)


def _print(state: State, run: "Run") -> int:
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import RUN_COLUMNS

    print_one(state, run, RUN_COLUMNS, name=lambda one: one.id)
    if run.reason:
        state.say(run.reason)
    return FAILED if run.failed else OK
