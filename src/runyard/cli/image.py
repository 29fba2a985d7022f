"""`runyard image`. Owns the commands on what runtimes are made from."""

import os

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_images
from runyard.cli.kit.options import confirm, yes_option
from runyard.cli.kit.state import State

image = LazyGroup(
    "image",
    summary="Import, list and remove images: root file systems that runtimes are made from.",
    examples=(
        "runyard image import ./alpine --name alpine:3.20   # podman save --format oci-dir -o ./alpine alpine",
        "runyard runtime create web --image alpine:3.20",
        "runyard image list",
    ),
    members={
        "import": Member("runyard.cli.image:import_", "Import an OCI image layout."),
        "list": Member("runyard.cli.image:list_", "List everything that runtimes can be made from."),
        "remove": Member("runyard.cli.image:remove", "Remove imported images."),
    },
)


@command(
    "import",
    examples=(
        "runyard image import ./alpine",
        "runyard image import /srv/images/tools --name tools:2 --json | jq -r .digest",
    ),
)
@click.argument("path", type=click.Path())
@click.option("--name", help="Its name, perhaps with a tag; by default the folder's name in lower case.")
@click.pass_obj
def import_(state: State, /, path: str, name: str | None) -> None:
    """Import an OCI image layout and wait until it is unpacked. For administrators of the whole first account.

    PATH is a folder on the server's host; a relative one begins at our working directory. An image of that name is
    replaced; runtimes that were made before keep the old one until they are stopped.
    """
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import IMAGE_COLUMNS

    absolute = os.path.abspath(path)
    with state.client() as client:
        made = client.images.import_layout(name or os.path.basename(absolute).lower(), absolute)
    print_one(state, made, IMAGE_COLUMNS, name=lambda one: one.name)


@command("list", examples=("runyard image list", "runyard image list --json | jq -r '.items[].name'"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List everything that runtimes can be made from: the host, folders of the settings, imported images."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import IMAGE_COLUMNS

    with state.client() as client:
        rows = client.images.list()
    print_list(state, rows, IMAGE_COLUMNS, name=lambda one: one.name, empty="there are no images")


@command("remove", examples=("runyard image remove tools:2", "runyard image remove tools:1 tools:2 --yes"))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_images)
@yes_option()
@click.pass_obj
def remove(state: State, /, images: tuple[str, ...], yes: bool) -> None:
    """Remove imported images. Runtimes that live on one go on, but do not start again once they were stopped."""
    from runyard.cli.kit.output import print_deleted

    confirm(f"Remove {', '.join(images)}?", yes=yes)
    with state.client() as client:
        for one in images:
            client.images.remove(one)
    print_deleted(state, "image", list(images))
