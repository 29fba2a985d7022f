"""`runyard member`. Owns the commands on who has which role on a project."""

from collections.abc import Callable
from typing import Any

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_projects
from runyard.cli.kit.options import confirm, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

member = LazyGroup(
    "member",
    summary="Say who has which role on a project and all below it. Needs the permission admin.",
    examples=(
        "runyard member list --project default/web",
        "runyard member set bob operator --project default/web",
        "runyard member remove bob",
    ),
    members={
        "list": Member("runyard.cli.member:list_", "List the members of a project."),
        "set": Member("runyard.cli.member:set_", "Give a user a role."),
        "remove": Member("runyard.cli.member:remove", "Take roles away."),
    },
)


def _project_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--project",
        default="/",
        metavar="PROJECT",
        shell_complete=complete_projects,
        help="Id or slugs; default: that of the token.",
    )


@command("list", examples=("runyard member list", "runyard member list --project default/web --json"))
@_project_option()
@click.pass_obj
def list_(state: State, /, project: str) -> None:
    """List who has a role on a project itself; roles on the projects above reach down to it and are not listed."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import MEMBER_COLUMNS

    with state.client() as client:
        rows = client.projects.members(reference(project))
    print_list(state, rows, MEMBER_COLUMNS, name=lambda one: one.user, empty="there are no members")


@command(
    "set",
    examples=(
        "runyard member set bob operator",
        "runyard member set bob viewer --project default/web --json",
    ),
)
@click.argument("user")
@click.argument("role", type=click.Choice(["admin", "operator", "viewer"]))
@_project_option()
@click.pass_obj
def set_(state: State, /, user: str, role: str, project: str) -> None:
    """Give a user a role, in the place of the one that it has on this project. It counts at once."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import MEMBER_COLUMNS

    with state.client() as client:
        made = client.projects.set_member(reference(project), reference(user), role)
    print_one(state, made, MEMBER_COLUMNS, name=lambda one: one.user)


@command(
    "remove",
    examples=("runyard member remove bob", "runyard member remove bob ann --project default/web --yes"),
)
@click.argument("users", metavar="USER...", nargs=-1, required=True)
@_project_option()
@yes_option()
@click.pass_obj
def remove(state: State, /, users: tuple[str, ...], project: str, yes: bool) -> None:
    """Take roles on a project away. Tokens of these users can do no more there, unless by a role from above."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in users]
    confirm(f"Take the roles of {', '.join(wanted)} away?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.projects.remove_member(reference(project), one)
    print_deleted(state, "member", wanted)
