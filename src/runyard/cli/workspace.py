"""`runyard workspace`. Owns the group and the commands on workspaces themselves; those on their runs are in `runs`."""

from typing import TYPE_CHECKING

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_integrations, complete_projects, complete_workspaces
from runyard.cli.kit.options import confirm, limit_option, workspace_argument, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.workspaces import Workspace

_WHERE = "runyard.cli.workspace"
_RUNS = "runyard.cli.runs"

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
        "variables": Member(f"{_WHERE}:variables", "List the variables that a run would get."),
        "lock": Member(f"{_WHERE}:lock", "Keep runs from beginning."),
        "unlock": Member(f"{_WHERE}:unlock", "Let runs begin again."),
        "plan": Member(f"{_RUNS}:plan", "Plan, and follow the output."),
        "apply": Member(f"{_RUNS}:apply", "Plan and apply, and follow the output."),
        "runs": Member(f"{_RUNS}:runs", "List the runs of a workspace."),
        "run": Member(f"{_RUNS}:run", "Show one run."),
        "verdict": Member(f"{_RUNS}:verdict", "Show what guardrails say of a run."),
        "approve": Member(f"{_RUNS}:approve", "Let a plan that waits be applied."),
        "discard": Member(f"{_RUNS}:discard", "Give up a run that waits."),
        "cancel": Member(f"{_RUNS}:cancel", "Stop a run."),
    },
)


@command(
    "create",
    examples=(
        "runyard workspace create net --iac-type terraform --url https://github.com/acme/infra --branch main",
        "runyard workspace create db --integration github --repository acme/infra --folder db",
        'runyard workspace create edge --url file:///srv/git/edge --cron "0 3 * * *" --label prod',
    ),
)
@click.argument("name")
@click.option("--url", "repository_url", default="", metavar="URL", help="Address of the repository.")
@click.option(
    "--integration",
    "vcs_integration_id",
    default="",
    metavar="INTEGRATION",
    shell_complete=complete_integrations,
    help="How it is reached, see `runyard integration list`.",
)
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
@click.option(
    "--runner-type",
    default="firefly",
    metavar="PIPELINE",
    help="The pipeline that executes and reports its runs, e.g. jenkins; default: this server.",
)
@click.option(
    "--project",
    metavar="PROJECT",
    shell_complete=complete_projects,
    help="Id or slugs; default: that of the token.",
)
@click.pass_obj
def create(state: State, /, auto: bool, labels: tuple[str, ...], project: str | None, **given: str) -> None:
    """Add a workspace. Needs the permission workspaces:write."""
    body: dict[str, object] = {**given, "labels": list(labels), "apply_rule": "auto" if auto else "manual"}
    if project is not None:
        body["project"] = project
    with state.client() as client:
        made = client.workspaces.create(body)
    _print(state, made)


@command("list", examples=("runyard workspace list", "runyard workspace list --text prod --json"))
@click.option("--text", default="", help="A part of name, repository or a label.")
@limit_option()
@click.pass_obj
def list_(state: State, /, text: str, limit: int) -> None:
    """List workspaces, the newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import WORKSPACE_COLUMNS

    with state.client() as client:
        rows = client.workspaces.list(text=text, limit=limit)
    print_list(state, rows, WORKSPACE_COLUMNS, name=lambda one: one.id, empty="there are no workspaces")


@command("get", examples=("runyard workspace get net", "runyard workspace get net --json"))
@workspace_argument()
@click.pass_obj
def get(state: State, /, workspace: str) -> None:
    """Show a workspace by its name or id."""
    with state.client() as client:
        _print(state, client.workspaces.get(reference(workspace)))


@command("delete", examples=("runyard workspace delete net --yes",))
@click.argument(
    "workspaces", metavar="WORKSPACE...", nargs=-1, required=True, shell_complete=complete_workspaces
)
@yes_option()
@click.pass_obj
def delete(state: State, /, workspaces: tuple[str, ...], yes: bool) -> None:
    """Delete workspaces with their runs and their state. The resources stay where they are, known to nobody."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in workspaces]
    confirm(f"Delete {', '.join(wanted)} with their states?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.workspaces.delete(one)
    print_deleted(state, "workspace", wanted)


@command(
    "variables",
    examples=(
        "runyard workspace variables net",
        "runyard workspace variables net --json | jq '.items[] | select(.secret)'",
    ),
)
@workspace_argument()
@click.pass_obj
def variables(state: State, /, workspace: str) -> None:
    """List the variables that a run would get, those of projects and sets among them; a secret shows no value."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import VARIABLE_COLUMNS

    with state.client() as client:
        rows = client.workspaces.variables(reference(workspace))
    print_list(state, rows, VARIABLE_COLUMNS, name=lambda one: one.key, empty="there are no variables")


@command("lock", examples=('runyard workspace lock net --reason "moving the network"',))
@workspace_argument()
@click.option("--reason", default="", help="Whoever has to wait reads it.")
@click.pass_obj
def lock(state: State, /, workspace: str, reason: str) -> None:
    """Keep runs of a workspace from beginning; those that are asked for wait."""
    with state.client() as client:
        after = client.workspaces.lock(reference(workspace), reason)
    _print(state, after)


@command("unlock", examples=("runyard workspace unlock net", "runyard workspace unlock net --force"))
@workspace_argument()
@click.option("--force", is_flag=True, help="Also when somebody else has locked it.")
@click.pass_obj
def unlock(state: State, /, workspace: str, force: bool) -> None:
    """Let runs of a workspace begin again."""
    with state.client() as client:
        after = client.workspaces.unlock(reference(workspace), force=force)
    _print(state, after)


def _print(state: State, one: "Workspace") -> None:
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import WORKSPACE_DETAILS

    print_one(state, one, WORKSPACE_DETAILS, name=lambda shown: shown.id)
