"""`runyard task`. Owns the command that brings tasks of another format in; everything else about tasks is `dn task`."""

from pathlib import Path

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.state import State

task = LazyGroup(
    "task",
    summary="Import tasks for agents. Tasks are pushed, listed and removed by the command `dn`.",
    examples=("runyard task import ./hello-world",),
    members={"import": Member("runyard.cli.task:import_", "Import a Harbor task folder.")},
)


@command(
    "import",
    examples=(
        "runyard task import ./hello-world",
        "runyard task import ./hello-world --name hello --to ./package   # write the package, push nothing",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--name", help="Its name; by default that of the task, in lower case with hyphens.")
@click.option("--to", type=click.Path(), help="Write the package into this new folder and push nothing.")
@click.pass_obj
def import_(state: State, /, folder: str, name: str | None, to: str | None) -> None:
    """Import a Harbor task folder (task.toml, instruction.md, environment/, tests/test.sh) and push it as a task.

    The container of the task becomes the service `main`, in which commands run. Its tests judge in a separate offline
    copy, to which the artifacts, or else the working folder, are carried; they leave their reward in /logs/verifier.
    """
    import tempfile

    from runyard.cli.kit.output import print_one
    from runyard.cli.views import TASK_COLUMNS
    from runyard.client.errors import InvalidConfiguration
    from runyard.client.harbor import convert
    from runyard.client.tasks import PushedTask

    if to is not None:
        target = Path(to)
        if target.exists() and any(target.iterdir()):
            raise InvalidConfiguration(f"the folder {to} is not empty")
        target.mkdir(parents=True, exist_ok=True)
        manifest = convert(Path(folder), target, name)
        version = str(manifest["version"])
        made = PushedTask(str(manifest["name"]), version, f"{manifest['name']}@{version}", "")
        print_one(state, made, TASK_COLUMNS, name=lambda one: one.name)
        return
    with tempfile.TemporaryDirectory() as scratch, state.client() as client:
        manifest = convert(Path(folder), Path(scratch), name)
        made = client.tasks.push(Path(scratch), dict(manifest))
    print_one(state, made, TASK_COLUMNS, name=lambda one: one.ref)
