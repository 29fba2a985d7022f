"""`runyard secret`. Owns the commands on stored secrets; a value is read from stdin or a hidden prompt, never from argv."""

import os
import sys

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_secrets
from runyard.cli.kit.options import Duration, confirm, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State
from runyard.client.errors import InvalidUse

LARGEST = 65_536
"""Bytes of a value that the server takes."""

secret = LazyGroup(
    "secret",
    summary="Store, list and remove secrets, which runtimes get as variables or files. No value is ever shown.",
    examples=(
        "runyard secret set api-key                      # asks for the value",
        "runyard secret set api-key < key.txt",
        "runyard runtime create agent --secret-env API_KEY=api-key",
        "runyard secret list",
    ),
    members={
        "set": Member("runyard.cli.secret:set_", "Store a secret or replace its value."),
        "list": Member("runyard.cli.secret:list_", "List secrets, without their values."),
        "remove": Member("runyard.cli.secret:remove", "Remove secrets."),
    },
)


@command(
    "set",
    examples=(
        "runyard secret set api-key",
        "runyard secret set deploy-key --raw < ~/.ssh/deploy",
        "runyard secret set api-key --cache 5m < key.txt",
    ),
)
@click.argument("secret", metavar="NAME", shell_complete=complete_secrets)
@click.option("--raw", is_flag=True, help="Keep a line break at the end of stdin.")
@click.option("--cache", type=Duration(), default=0, help="The server may keep it opened so long; up to 1h.")
@click.pass_obj
def set_(state: State, /, secret: str, raw: bool, cache: int) -> None:
    """Store a secret or replace its value, which comes from stdin; on a terminal it is asked for and not shown.

    Commands that start from then on get the new value; files are written again when a runtime starts.
    """
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import SECRET_COLUMNS

    wanted, value = reference(secret), read_value(raw=raw)
    with state.client() as client:
        stored = client.secrets.put(wanted, value, cache_ttl_secs=cache)
    print_one(state, stored, SECRET_COLUMNS, name=lambda one: one.id)


def read_value(*, raw: bool) -> str:
    """Read a value from stdin or a prompt. Raises InvalidUse for what no secret can be."""
    if os.isatty(0):
        asked: str = click.prompt("Value", hide_input=True, err=True)
        return asked
    data = sys.stdin.buffer.read(LARGEST + 3)
    if not raw:
        data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data or len(data) > LARGEST:
        raise InvalidUse(f"a secret has 1 to {LARGEST} bytes; it is read from stdin")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidUse(
            "a secret must be text in UTF-8; encode other bytes, for example as Base64"
        ) from None


@command("list", examples=("runyard secret list", "runyard secret list --json | jq -r '.items[].name'"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List secrets by name, without their values."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import SECRET_COLUMNS

    with state.client() as client:
        rows = client.secrets.list()
    print_list(state, rows, SECRET_COLUMNS, name=lambda one: one.id, empty="there are no secrets")


@command("remove", examples=("runyard secret remove api-key", "runyard secret remove api-key old-key --yes"))
@click.argument("secrets", metavar="SECRET...", nargs=-1, required=True, shell_complete=complete_secrets)
@yes_option()
@click.pass_obj
def remove(state: State, /, secrets: tuple[str, ...], yes: bool) -> None:
    """Remove secrets. Runtimes that use one go on without it; files that were written stay."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in secrets]
    confirm(f"Remove {', '.join(wanted)}?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.secrets.delete(one)
    print_deleted(state, "secret", wanted)
