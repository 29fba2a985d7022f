"""`runyard version`. Owns the comparison of this command with the server it talks to."""

import platform

import click

from runyard import __version__
from runyard.cli.kit.commands import command
from runyard.cli.kit.state import State
from runyard.client.errors import ClientError


@command(
    "version",
    names=False,
    examples=("runyard version", "runyard version --json | jq -r .server.version", "runyard --version"),
)
@click.pass_obj
def version(state: State, /) -> None:
    """Print the versions of this command and of the server. A server that does not answer is no failure."""
    from runyard.cli.kit.output import print_json, write_text

    chosen = state.connection()
    server: dict[str, object] = {"url": chosen.url, "source": chosen.source, "version": None, "error": None}
    try:
        with state.client() as client:
            server["version"] = client.health().version
    except ClientError as error:
        server["error"] = error.message
    if state.as_json:
        print_json(
            {"client": {"version": __version__, "python": platform.python_version()}, "server": server}
        )
        return
    about = server["version"] or f"unknown ({server['error']})"
    write_text(f"client  {__version__}\nserver  {about}  {chosen.url} ({chosen.source})\n")
