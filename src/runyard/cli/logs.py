"""`runyard logs`, and the following that `execution tail` shares. Owns how a log is printed and how to come back to it."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from runyard.cli.kit.commands import command
from runyard.cli.kit.exits import INTERRUPTED, OK
from runyard.cli.kit.options import execution_argument
from runyard.cli.kit.output import iso, write_bytes, write_text
from runyard.cli.kit.refs import is_execution_id, reference
from runyard.cli.kit.state import State
from runyard.client.errors import InvalidUse

if TYPE_CHECKING:
    from runyard.client.client import Client
    from runyard.client.executions import Follow
    from runyard.client.models import Chunk

STREAMS = click.Choice(["stdout", "stderr", "system"])


@command(
    "logs",
    names=False,
    examples=(
        "runyard logs 6745a2f09b1c8e5d3f7a0b12",
        "runyard logs -f web                        # the newest execution in the runtime web",
        "runyard logs --tail 20 --stream stderr     # the newest execution of all",
        "runyard logs -f --offset 4096 6745a2f09b1c8e5d3f7a0b12",
    ),
)
@execution_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the execution ends.")
@click.option("-n", "--tail", type=click.IntRange(0), help="Only the last so many lines.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Start at this byte of the log.")
@click.option("--stream", type=STREAMS, help="Only what was printed there.")
@click.pass_obj
def logs(
    state: State, /, execution: str | None, follow: bool, tail: int | None, offset: int, stream: str | None
) -> int:
    """Print what an execution printed: stdout and stderr, in their order, both to our stdout.

    EXECUTION may also be a runtime: then its newest execution is meant; without it, the newest of all. With -f a lost
    connection is taken up where it broke. Ctrl-C only stops the printing; it says how to come back. With --json every
    piece is one line: offset, stream, time, data_base64.
    """
    from runyard.client.executions import Follow

    with state.client() as client:
        found = newest_of(client, execution)
        how = Follow(offset=offset, stream=stream)
        if follow:
            if tail is not None:
                print_chunks(state, _tail(client, found, how, tail))
            return follow_log(state, client, found, how)
        chunks = client.executions.output(found, offset=offset, stream=stream)
        print_chunks(state, chunks if tail is None else _tail(client, found, how, tail))
    return OK


def newest_of(client: "Client", given: str | None) -> str:
    """Return the id of the execution that is meant. Raises InvalidUse when there is none."""
    from runyard.client.models import ExecutionFilter

    place = None
    if given is not None:
        wanted = reference(given)
        if is_execution_id(wanted):
            return wanted
        place = client.runtimes.identify(wanted)
    for one in client.executions.list(ExecutionFilter(place=place), limit=1):
        return one.id
    raise InvalidUse(f"nothing has run in {given} yet" if given else "nothing has run yet")


def follow_log(state: State, client: "Client", execution: str, how: "Follow") -> int:
    """Print a live log to its end. Ctrl-C detaches and says how to come back; the execution goes on."""
    how.on_reconnect = lambda reason: state.say(f"reconnecting ({reason})")
    try:
        print_chunks(state, client.executions.follow(execution, how))
    except KeyboardInterrupt:
        with _deaf():
            back = f"runyard logs -f --offset {how.offset} {execution}"
            state.say(f"\ndetached, the execution goes on; come back with: {back}")
        return INTERRUPTED
    return OK


def print_chunks(state: State, chunks: "Iterable[Chunk]") -> None:
    """Print pieces of a log as they are, or as one JSON line each."""
    for chunk in chunks:
        if state.as_json:
            write_text(_json_line(chunk))
        else:
            write_bytes(1, chunk.data)


def _json_line(chunk: "Chunk") -> str:
    """Return a piece as one line of JSON."""
    import base64
    import json

    fields = {
        "offset": chunk.offset,
        "stream": chunk.stream,
        "time": iso(chunk.time) if chunk.time else None,
        "data_base64": base64.b64encode(chunk.data).decode(),
    }
    return json.dumps(fields) + "\n"


def _tail(client: "Client", execution: str, how: "Follow", lines: int) -> "Iterator[Chunk]":
    """Yield the last lines of what is in the log now, and leave `how.offset` at its end for what follows.

    The log is read once from the front in blocks; only so many bytes as the tail needs are kept.
    """
    from runyard.client.models import Chunk

    kept: list[Chunk] = []
    breaks = 0
    for chunk in client.executions.output(execution, offset=how.offset, stream=how.stream):
        how.offset = max(how.offset, chunk.end)
        kept.append(chunk)
        breaks += chunk.data.count(b"\n")
        while len(kept) > 1 and breaks - kept[0].data.count(b"\n") > lines:
            breaks -= kept.pop(0).data.count(b"\n")
    # A log that ends without a line break has one more line than breaks.
    surplus = breaks + (not kept[-1].data.endswith(b"\n") if kept else 0) - lines
    for chunk in kept:
        start = 0
        while surplus > 0 and (found := chunk.data.find(b"\n", start)) >= 0:
            start, surplus = found + 1, surplus - 1
        if surplus <= 0 and chunk.data[start:]:
            yield Chunk(
                offset=chunk.offset + start, stream=chunk.stream, data=chunk.data[start:], time=chunk.time
            )


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C within the block, so that a second one does not cut the sentence."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
