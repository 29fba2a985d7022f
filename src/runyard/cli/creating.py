"""Options that define a runtime, shared by `run` and `runtime create`. Owns how they become the body of a create."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from runyard.cli.kit.known import complete_checkpoints, complete_images
from runyard.cli.kit.options import Memory
from runyard.cli.kit.refs import reference

if TYPE_CHECKING:
    from runyard.client.models import NewRuntime

Function = TypeVar("Function", bound=Callable[..., Any])


class RuntimeGiven(TypedDict):
    """The options that say what a runtime is like."""

    name: str | None
    image: str | None
    cpus: int | None
    memory: int | None
    disk: int | None
    network: str | None
    checkpoint: str | None
    secret_env: tuple[str, ...]
    secret_file: tuple[str, ...]


def runtime_options(function: Function) -> Function:
    """Add the options."""
    decorators = [
        click.option("--name", help="Its name; by default two words."),
        click.option(
            "--image",
            metavar="BASE",
            shell_complete=complete_images,
            help="What it starts from, see `runyard image list`; by default the host's Debian.",
        ),
        click.option("--cpus", type=click.IntRange(1), help="Processors."),
        click.option("--memory", type=Memory(), metavar="SIZE", help="Memory: 512M, 2G."),
        click.option("--disk", type=click.IntRange(1), metavar="GIB", help="Room for its files, in GiB."),
        click.option("--network", type=click.Choice(["open", "none"]), help="Where it may connect to."),
        click.option(
            "--checkpoint",
            metavar="CHECKPOINT",
            shell_complete=complete_checkpoints,
            help="Restore these files.",
        ),
        click.option(
            "--secret-env",
            metavar="NAME=SECRET",
            multiple=True,
            help="A variable with the value of a stored secret.",
        ),
        click.option(
            "--secret-file",
            metavar="PATH=SECRET",
            multiple=True,
            help="A file below /root with the value of a stored secret.",
        ),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def new_runtime(given: RuntimeGiven, environment: dict[str, str]) -> "NewRuntime":
    """Return the body of the create."""
    from runyard.client.models import NewRuntime, SecretUse

    checkpoint = given["checkpoint"]
    return NewRuntime(
        name=given["name"],
        base=given["image"],
        vcpus=given["cpus"],
        memory_mib=given["memory"],
        disk_gib=given["disk"],
        egress=given["network"],
        checkpoint_id=reference(checkpoint) if checkpoint else None,
        environment=environment,
        secrets=(
            *(SecretUse(name=secret, env=name) for name, secret in _pairs(given["secret_env"])),
            *(SecretUse(name=secret, file=path) for path, secret in _pairs(given["secret_file"])),
        ),
    )


def _pairs(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Read `WHERE=SECRET` pairs; the name of a secret may hold a `=`, where it goes may not."""
    for pair in given:
        where, _, secret = pair.partition("=")
        if not where or not secret:
            raise click.UsageError(f"{pair!r} does not say where a secret goes: write WHERE=SECRET")
        yield where, reference(secret)
