"""`runyard role`. Owns the commands on roles of actions and the reading of the folder that defines them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.client.models import ActionRoles

role = LazyGroup(
    "role",
    summary="Say who may do what with StackStorm actions, for servers with the setting actions.rbac.",
    examples=(
        "runyard role apply ./rbac          # roles/*.yaml and assignments/*.yaml",
        "runyard role list",
    ),
    members={
        "list": Member("runyard.cli.role:list_", "List the roles that were applied."),
        "apply": Member(
            "runyard.cli.role:apply", "Put the roles of a folder in the place of those that are there."
        ),
    },
)


@command("list", examples=("runyard role list", "runyard role list --json"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List the roles that were applied. With --json: also their grants and who holds them."""
    from runyard.cli.kit.output import print_json, print_list
    from runyard.cli.views import ROLE_COLUMNS

    with state.client() as client:
        found = client.users.roles()
    if state.as_json:
        print_json(found)
        return
    print_list(state, found.roles, ROLE_COLUMNS, name=lambda one: one.name, empty="there are no roles")


@command(
    "apply",
    names=False,
    examples=("runyard role apply /opt/stackstorm/rbac", "runyard role apply ./rbac --json"),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.pass_obj
def apply(state: State, /, folder: Path) -> None:
    """Put the roles of FOLDER and their holders in the place of those that are there, all at once.

    FOLDER has `roles/*.yaml` (name, description, permission_grants with resource_uid and permission_types) and
    `assignments/*.yaml` (username, roles), as StackStorm has them. Needs the permission admin.
    """
    from runyard.cli.kit.output import print_json

    wanted = _read(folder)
    with state.client() as client:
        found = client.users.apply_roles(wanted)
    if state.as_json:
        print_json(found)
        return
    holders = len({one.username for one in found.assignments})
    state.say(f"{len(found.roles)} roles and {holders} users with roles are applied")


def _read(folder: Path) -> "ActionRoles":
    """Read a folder. Raises click.ClickException with the file that is wrong."""
    import msgspec

    from runyard.client.models import ActionRoles

    documents = {
        "roles": [_document(path) for path in _files(folder / "roles")],
        "assignments": [_document(path) for path in _files(folder / "assignments")],
    }
    if not any(documents.values()):
        raise click.ClickException(f"{folder} has neither roles/*.yaml nor assignments/*.yaml")
    try:
        return msgspec.convert(documents, ActionRoles)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"{folder}: {error}") from None


def _files(folder: Path) -> list[Path]:
    return sorted(path for ending in ("*.yaml", "*.yml") for path in folder.glob(ending))


def _document(path: Path) -> Any:  # noqa: ANN401  any document
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{path}: {error}") from None
