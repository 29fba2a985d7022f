"""`runyard doctor`. Owns how the findings are shown; the examination is the server's and is imported only here."""

from typing import TYPE_CHECKING

import click

from runyard.cli.kit.commands import command
from runyard.cli.kit.exits import FAILED, OK
from runyard.cli.kit.output import Column, print_list
from runyard.cli.kit.state import State

if TYPE_CHECKING:
    from runyard.server.doctor import Finding


@command(
    "doctor",
    names=False,
    examples=(
        "runyard doctor",
        "runyard doctor --json | jq -r '.items[] | select(.status != \"ok\") | .fix'",
        "runyard doctor --data-dir /var/lib/runyard",
    ),
)
@click.option("--data-dir", type=click.Path(file_okay=False), help="Folder of all data (RUNYARD_DATA_DIR).")
@click.option("--database-url", help="The database to look at (RUNYARD_DATABASE_URL).")
@click.pass_obj
def doctor(state: State, /, data_dir: str | None, database_url: str | None) -> int:
    """Say what this host can enforce and what is missing, each with a fix.

    Looks at this machine with the settings of the server; no server has to run. The exit status is 1 when something
    failed; a warning alone is no failure.
    """
    from runyard.kernel.errors import RunyardError
    from runyard.server.doctor import examine
    from runyard.settings import load

    try:
        findings = examine(load(data_dir=data_dir, database_url=database_url))
    except RunyardError as error:
        raise click.UsageError(error.message) from error
    print_list(state, findings, columns(), name=lambda one: one.name, empty="nothing to say")
    return FAILED if any(one.status == "failed" for one in findings) else OK


def columns() -> "tuple[Column[Finding], ...]":
    """Return the columns of a finding."""
    return (
        Column("STATUS", lambda one: one.status),
        Column("WHAT", lambda one: one.name),
        Column("HOW", lambda one: one.detail, flexible=True),
        Column("FIX", lambda one: one.fix, flexible=True),
    )
