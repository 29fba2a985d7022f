"""`runyard user`. Owns the commands on users."""

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.state import State

user = LazyGroup(
    "user",
    summary="Create and list users: who tokens act for.",
    examples=(
        "runyard user create bob --role operator",
        "runyard user create ci --service",
        "runyard token create laptop --user bob",
        "runyard user list",
    ),
    members={
        "list": Member("runyard.cli.user:list_", "List users."),
        "create": Member("runyard.cli.user:create", "Add a user."),
    },
)


@command("list", examples=("runyard user list", "runyard user list --json | jq -r '.items[].name'"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List the users of your account. Needs the permission admin."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import USER_COLUMNS

    with state.client() as client:
        rows = client.users.list()
    print_list(state, rows, USER_COLUMNS, name=lambda one: one.name, empty="there are no users")


@command(
    "create",
    examples=("runyard user create bob --role operator", "runyard user create robot --service --json"),
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["admin", "operator", "viewer", "none"]),
    default="none",
    show_default=True,
    help="What it is in your project and below; with none it may do only what roles of actions grant.",
)
@click.option("--service", is_flag=True, help="A program, no person.")
@click.pass_obj
def create(state: State, /, name: str, role: str, service: bool) -> None:
    """Add a user. Needs the permission admin."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import USER_COLUMNS

    with state.client() as client:
        made = client.users.create(name, role=role, kind="service" if service else "user")
    print_one(state, made, USER_COLUMNS, name=lambda one: one.name)
