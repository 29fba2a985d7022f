"""`runyard project`. Owns the commands on the project tree."""

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_projects
from runyard.cli.kit.options import confirm, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

project = LazyGroup(
    "project",
    summary="Create, list and delete projects: a tree on which runtimes, secrets and tokens hang.",
    examples=(
        "runyard project create default/web",
        "runyard project list",
        "runyard token create web --project default/web   # sees this project and below only",
    ),
    members={
        "list": Member("runyard.cli.project:list_", "List the projects that you see."),
        "create": Member("runyard.cli.project:create", "Add a project."),
        "delete": Member("runyard.cli.project:delete", "Delete empty projects."),
    },
)


@command("list", examples=("runyard project list", "runyard project list --json | jq -r '.items[].path'"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List your project, `/`, and all below it."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import PROJECT_COLUMNS

    with state.client() as client:
        rows = client.projects.list()
    print_list(state, rows, PROJECT_COLUMNS, name=lambda one: one.id, empty="there are no projects")


@command(
    "create",
    examples=("runyard project create web", "runyard project create default/web --name 'The shop' --json"),
)
@click.argument("path")
@click.option("--name", help="Its name for people; by default its last slug.")
@click.pass_obj
def create(state: State, /, path: str, name: str | None) -> None:
    """Add a project. The last slug of PATH is new, those before it name the project above. Needs the permission admin."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import PROJECT_COLUMNS

    parent, _, slug = reference(path).strip("/").rpartition("/")
    with state.client() as client:
        made = client.projects.create(slug, parent=parent or None, name=name)
    print_one(state, made, PROJECT_COLUMNS, name=lambda one: one.id)


@command(
    "delete", examples=("runyard project delete default/web", "runyard project delete default/web --yes")
)
@click.argument("projects", metavar="PROJECT...", nargs=-1, required=True, shell_complete=complete_projects)
@yes_option()
@click.pass_obj
def delete(state: State, /, projects: tuple[str, ...], yes: bool) -> None:
    """Delete projects, by id or path, on which nothing hangs. The record of what ran there stays."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in projects]
    confirm(f"Delete {', '.join(wanted)}?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.projects.delete(one)
    print_deleted(state, "project", wanted)
