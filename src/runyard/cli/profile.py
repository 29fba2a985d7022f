"""`runyard profile`. Owns the commands on stored servers and tokens."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_profiles
from runyard.cli.kit.output import Column, print_deleted, print_list
from runyard.cli.kit.profiles import (
    DEFAULT_URL,
    Book,
    Profile,
    checked_url,
    choose_connection,
    config_path,
    load_book,
    profile_named,
    save_book,
)
from runyard.cli.kit.state import State, is_terminal

profile = LazyGroup(
    "profile",
    summary="Choose which server to talk to. RUNYARD_URL and RUNYARD_TOKEN win over profiles.",
    examples=(
        "runyard profile set prod --url https://runyard.example.com --token-file ./token",
        "runyard profile use prod",
        "runyard profile list",
    ),
    members={
        "list": Member("runyard.cli.profile:list_", "List profiles; the active one is marked."),
        "use": Member("runyard.cli.profile:use", "Make a profile the active one."),
        "set": Member("runyard.cli.profile:set_", "Store the address and the token of a server."),
        "delete": Member("runyard.cli.profile:delete", "Forget a profile."),
    },
)


@dataclass(frozen=True)
class Shown:
    """A profile as it is listed: whether there is a token, never which."""

    name: str
    url: str
    active: bool
    has_token: bool


COLUMNS: tuple[Column[Shown], ...] = (
    Column("ACTIVE", lambda one: "*" if one.active else " "),
    Column("NAME", lambda one: one.name),
    Column("URL", lambda one: one.url),
    Column("TOKEN", lambda one: "stored" if one.has_token else None),
)


@command("list", examples=("runyard profile list", "runyard profile list --json | jq -r '.items[].name'"))
@click.pass_obj
def list_(state: State, /) -> None:
    """List profiles; the active one is marked. On stderr: what a command would talk to right now, and why."""
    book = load_book()
    rows = [
        Shown(name, one.url, name == book.active, one.token is not None)
        for name, one in sorted(book.profiles.items())
    ]
    print_list(state, rows, COLUMNS, name=lambda one: one.name, empty="there are no profiles")
    if not state.as_json:
        chosen = choose_connection(state.profile)
        state.say(f"in use: {chosen.url} ({chosen.source})")


@command("use", examples=("runyard profile use prod",))
@click.argument("name", shell_complete=complete_profiles)
@click.pass_obj
def use(state: State, /, name: str) -> None:
    """Make a profile the active one."""
    book = load_book()
    stored = profile_named(book, name)
    save_book(replace(book, active=name))
    if os.environ.get("RUNYARD_URL") or os.environ.get("RUNYARD_TOKEN"):
        state.say("RUNYARD_URL or RUNYARD_TOKEN is set here and wins over profiles")
    _show(state, name, Book(name, {name: stored}))


@command(
    "set",
    examples=(
        "runyard profile set local --url http://127.0.0.1:8080",
        "runyard profile set prod --url https://runyard.example.com --token-file ./token",
        "pass show runyard | runyard profile set prod --token-stdin",
        "RUNYARD_TOKEN=... runyard profile set ci --token-env",
    ),
)
@click.argument("name", shell_complete=complete_profiles)
@click.option("--url", help=f"Address of the server; default: what it was, or {DEFAULT_URL}.")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False), help="Read the token from a file."
)
@click.option("--token-stdin", is_flag=True, help="Read the token from stdin.")
@click.option("--token-env", is_flag=True, help="Take the token from RUNYARD_TOKEN.")
@click.pass_obj
def set_(
    state: State, /, name: str, url: str | None, token_file: str | None, token_stdin: bool, token_env: bool
) -> None:
    """Store the address and the token of a server; the first profile becomes the active one.

    A token never stands on the command line, where others could read it. On a terminal it is asked for without echo.
    """
    if sum((token_file is not None, token_stdin, token_env)) > 1:
        raise click.UsageError("take the token from one place only")
    book = load_book()
    before = book.profiles.get(name)
    address = checked_url(url or (before.url if before else DEFAULT_URL))
    token = _read_token(token_file, stdin=token_stdin, environment=token_env)
    if token is None and before is not None and before.url == address:
        token = before.token
    book = book.with_profile(name, Profile(address, token))
    save_book(book)
    if token is None:
        state.say("no token is stored with it: give one with --token-stdin, or set RUNYARD_TOKEN")
    _show(state, name, book)


@command("delete", examples=("runyard profile delete old",))
@click.argument("name", shell_complete=complete_profiles)
@click.pass_obj
def delete(state: State, /, name: str) -> None:
    """Forget a profile and its token."""
    book = load_book()
    profile_named(book, name)
    save_book(book.without(name))
    print_deleted(state, "profile", [name])


def _read_token(path: str | None, *, stdin: bool, environment: bool) -> str | None:
    """Get the token from where it was said to be; ask for it only on a terminal. None means none was given."""
    if path is not None:
        text: str | None = Path(path).read_text()
    elif stdin:
        text = sys.stdin.read()
    elif environment:
        text = os.environ.get("RUNYARD_TOKEN")
        if not text:
            raise click.UsageError("RUNYARD_TOKEN is not set")
    elif is_terminal(0) and is_terminal(2):
        text = click.prompt(
            "Token (empty for none)", default="", hide_input=True, show_default=False, err=True
        )
    else:
        return None
    token = (text or "").strip()
    if any(letter.isspace() for letter in token):
        raise click.UsageError("that is not one token: it has blanks in it")
    return token or None


def _show(state: State, name: str, book: Book) -> None:
    """Print one profile after a change."""
    one = book.profiles[name]
    shown = Shown(name, one.url, book.active == name, one.token is not None)
    print_list(state, [shown], COLUMNS, name=lambda it: it.name, empty="")
    state.say(f"stored in {config_path()}")
