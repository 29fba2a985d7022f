"""`runyard ps`. Owns the short list of what runs now."""

import click

from runyard.cli.kit.commands import command
from runyard.cli.kit.known import complete_runtimes
from runyard.cli.kit.options import limit_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State


@command(
    "ps",
    examples=(
        "runyard ps",
        "runyard ps -a --limit 20                   # finished ones too",
        "runyard ps --output name | xargs -r runyard execution cancel --yes",
    ),
)
@click.option("-a", "--all", "everything", is_flag=True, help="Finished ones too.")
@click.option("--runtime", metavar="RUNTIME", shell_complete=complete_runtimes, help="Only in this runtime.")
@limit_option()
@click.pass_obj
def ps(state: State, /, everything: bool, runtime: str | None, limit: int) -> None:
    """List what is running now, newest first."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import EXECUTION_COLUMNS
    from runyard.client.models import LIVE, ExecutionFilter

    with state.client() as client:
        place = client.runtimes.identify(reference(runtime)) if runtime else None
        wanted = ExecutionFilter(status=() if everything else LIVE, place=place)
        rows = list(client.executions.list(wanted, limit=limit))
    print_list(state, rows, EXECUTION_COLUMNS, name=lambda one: one.id, empty="nothing is running")
