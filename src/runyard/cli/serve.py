"""`runyard serve`. Owns the flags and the demonstration; the server itself is imported only when this command runs.

This and `doctor` are the only modules of the command line that may import the server.
"""

import gc
import threading
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from runyard.cli.kit.commands import command
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.server.house import House
    from runyard.settings import Settings


class ServeGiven(TypedDict):
    """All options of `serve`; None means: environment, file, default."""

    host: str | None
    port: int | None
    data_dir: str | None
    database_url: str | None
    demo: bool
    new_admin_token: bool


@command(
    "serve",
    data=False,
    examples=(
        "runyard serve                              # http://127.0.0.1:8080, prints the first token",
        "runyard serve --host 0.0.0.0 --port 80 --data-dir /var/lib/runyard",
        "RUNYARD_DATABASE_URL=postgresql://user:password@db/runyard runyard serve",
        "runyard serve --demo                       # and show a command in an isolated runtime",
    ),
)
@click.option("--host", help="Address to listen on (RUNYARD_HOST).  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one (RUNYARD_PORT).  [default: 8080]"
)
@click.option("--data-dir", type=click.Path(file_okay=False), help="Folder of all data (RUNYARD_DATA_DIR).")
@click.option(
    "--database-url",
    help="sqlite:////PATH or postgresql://...; a password is safer in RUNYARD_DATABASE_URL.",
)
@click.option("--demo", is_flag=True, help="When up, run a first command in an isolated runtime and show it.")
@click.option(
    "--new-admin-token",
    is_flag=True,
    help="Make another admin token and print it, when the first one is lost.",
)
@click.pass_obj
def serve(state: State, /, **given: Unpack[ServeGiven]) -> int:
    """Start the server, and serve until SIGTERM or Ctrl-C.

    The first start makes an admin token and prints it once, unless RUNYARD_ADMIN_TOKEN sets it. All other settings are
    environment variables or a file: docs/settings.md.
    """
    # Modules stay: to look for garbage among them, now and whenever the server collects, would be a tenth of its start.
    gc.disable()
    from runyard.kernel.errors import RunyardError
    from runyard.server.main import serve as serve_until_stopped
    from runyard.settings import load

    gc.freeze()
    gc.enable()

    try:
        settings = load(
            host=given["host"],
            port=given["port"],
            data_dir=given["data_dir"],
            database_url=given["database_url"],
        )
    except RunyardError as error:
        raise click.UsageError(error.message) from error
    ready = (lambda url, house: _begin_demo(state, settings, url, house)) if given["demo"] else None
    return serve_until_stopped(settings, ready, new_admin_token=given["new_admin_token"])


def _begin_demo(state: State, settings: "Settings", url: str, house: "House") -> None:
    """Print the banner and start the demonstration beside the server, as a client like any other."""
    from runyard.cli.demo import Demo, find_token
    from runyard.cli.kit.output import write_text
    from runyard.server.banner import banner

    write_text(banner(url, house))
    given = settings.admin_token.get_secret_value() if settings.admin_token else None
    demo = Demo(state, url, find_token(url, house.first_token or given), fresh=house.first_token is not None)
    threading.Thread(target=demo.show, name="demo", daemon=True).start()
