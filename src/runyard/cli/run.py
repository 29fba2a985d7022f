"""`runyard run`. Owns the life of the runtime that exists for one command."""

import contextlib
import signal
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

import click

from runyard.cli.creating import RuntimeGiven, new_runtime, runtime_options
from runyard.cli.invocation import RemoteCommand, RemoteGiven, remote_options, wish_of
from runyard.cli.kit.commands import command
from runyard.cli.kit.state import State
from runyard.client.errors import ApiError, ClientError

if TYPE_CHECKING:
    from runyard.client.client import Client
    from runyard.client.models import NewRuntime, Runtime


class RunGiven(RemoteGiven, RuntimeGiven):
    """All options of `run`."""

    keep: bool


@command(
    "run",
    kind=RemoteCommand,
    remote=True,
    names=False,
    examples=(
        "runyard run -- python3 -c 'print(6 * 7)'",
        "runyard run --network none --memory 512M -c 'make test'",
        "runyard run -it -- bash",
        "runyard run --keep --name lab -- apt-get install -y jq",
    ),
)
@runtime_options
@click.option("--keep", is_flag=True, help="Do not delete the runtime after.")
@remote_options
@click.pass_obj
def run(state: State, /, **given: Unpack[RunGiven]) -> int:
    """Run a command in a fresh runtime and delete the runtime after.

    The exit status is that of the command. The execution and its output stay in the ledger: `runyard logs` prints them.
    """
    from runyard.cli.remote import ends_cleanly, run_remotely

    wish = wish_of(given)
    wanted = new_runtime(given, {})
    with (
        ends_cleanly(),
        state.client() as client,
        fresh_runtime(state, client, wanted, keep=given["keep"]) as runtime,
    ):
        return run_remotely(state, client, runtime, wish)


@contextlib.contextmanager
def fresh_runtime(state: State, client: "Client", wanted: "NewRuntime", *, keep: bool) -> Iterator[str]:
    """Create a runtime for the block and delete it after, whatever happened within, unless it is to be kept."""
    made = _create(state, client, wanted)
    try:
        client.runtimes.wait_ready(made.id)
        yield made.id
    finally:
        if keep:
            state.say(f"runtime {made.name} is kept: runyard exec {made.id} -- ...")
        else:
            _delete(state, client, made.id)


def _create(state: State, client: "Client", wanted: "NewRuntime") -> "Runtime":
    """Create the runtime. When we are told to leave meanwhile, ask again with the same key which one it became."""
    key = str(uuid.uuid4())
    try:
        return client.runtimes.create(wanted, key=key)
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(ClientError):
            _delete(state, client, client.runtimes.create(wanted, key=key).id)
        raise


def _delete(state: State, client: "Client", runtime: str) -> None:
    """Delete the runtime; a Ctrl-C now would leave it behind, so it has to wait."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        client.runtimes.delete(runtime)
    except ApiError as error:
        if error.status != 404:
            _left_behind(state, runtime, error)
    except ClientError as error:
        _left_behind(state, runtime, error)
    finally:
        signal.signal(signal.SIGINT, before)


def _left_behind(state: State, runtime: str, error: ClientError) -> None:
    """Say what could not be cleaned up; the status of the command stays the answer."""
    state.say(f"the runtime could not be deleted ({error}): runyard runtime delete {runtime}")
