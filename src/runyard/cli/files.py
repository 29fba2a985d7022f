"""`runyard runtime files` and `runyard runtime cp`. Owns copying single files in and out, in blocks, binary-safe."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.options import runtime_argument
from runyard.cli.kit.output import print_json, size, write_bytes
from runyard.cli.kit.refs import reference, remote_path
from runyard.cli.kit.state import State, is_terminal

if TYPE_CHECKING:
    from runyard.client.client import Client

files = LazyGroup(
    "files",
    summary="Read and write single files of a runtime.",
    examples=(
        "runyard runtime files get web /etc/os-release",
        "runyard runtime files put ./app.conf web /etc/app.conf",
    ),
    members={
        "get": Member("runyard.cli.files:get", "Copy a file out of a runtime."),
        "put": Member("runyard.cli.files:put", "Copy a file into a runtime."),
    },
)


@command(
    "get",
    names=False,
    examples=(
        "runyard runtime files get web /etc/os-release              # to stdout",
        "runyard runtime files get web /srv/core.gz ./core.gz",
    ),
)
@runtime_argument()
@click.argument("path")
@click.argument("target", metavar="[LOCAL]", default="-")
@click.pass_obj
def get(state: State, /, runtime: str, path: str, target: str) -> None:
    """Copy a file out of a runtime, to LOCAL or to stdout.

    LOCAL appears only when the whole file has arrived. With --json the document goes to stdout, so LOCAL is needed.
    """
    if target == "-" and state.as_json:
        raise click.UsageError("--json and the file cannot both go to stdout: name a local file")
    with state.client() as client:
        fetch(state, client, reference(runtime), path, target)


@command(
    "put",
    names=False,
    examples=(
        "runyard runtime files put ./app.conf web /etc/app.conf",
        "date | runyard runtime files put - web /tmp/now",
    ),
)
@click.argument("source", metavar="LOCAL")
@runtime_argument()
@click.argument("path")
@click.pass_obj
def put(state: State, /, source: str, runtime: str, path: str) -> None:
    """Copy a file, or stdin for `-`, into a runtime. Folders on the way are made; an existing file is replaced."""
    with state.client() as client:
        send(state, client, source, reference(runtime), path)


@command(
    "cp",
    names=False,
    examples=(
        "runyard runtime cp ./app.conf web:/etc/app.conf",
        "runyard runtime cp web:/var/log/app.log .",
        "tar c . | runyard exec -i web -- tar x -C /srv             # a whole folder",
    ),
)
@click.argument("source")
@click.argument("target")
@click.pass_obj
def cp(state: State, /, source: str, target: str) -> None:
    """Copy one file into a runtime or out of it; RUNTIME:PATH is the far side. A path that ends in / is a folder."""
    outward, inward = remote_path(source), remote_path(target)
    if (outward is None) == (inward is None):
        raise click.UsageError("exactly one of the two must be RUNTIME:PATH")
    with state.client() as client:
        if outward is not None:
            fetch(state, client, *outward, target)
        elif inward is not None:
            runtime, path = inward
            send(state, client, source, runtime, in_folder(path, source))


def in_folder(path: str, source: str) -> str:
    """Return the path with the source's name behind it when it is written as a folder."""
    return path + os.path.basename(source) if path.endswith("/") else path


def fetch(state: State, client: "Client", runtime: str, path: str, target: str) -> None:
    """Copy out. A local file appears under its name only when it is complete."""
    if target != "-" and (os.path.isdir(target) or target.endswith("/")):
        target = os.path.join(target, os.path.basename(path.rstrip("/")))
    with client.runtimes.read_file(runtime, path) as blocks:
        if target == "-":
            for block in blocks:
                write_bytes(1, block)
            return
        count = _write_file(state, target, blocks)
    _report(state, target, count)


def send(state: State, client: "Client", source: str, runtime: str, path: str) -> None:
    """Copy in."""
    if source != "-" and os.path.isdir(source):
        raise click.UsageError(
            f"{source} is a folder; use `tar c {source} | runyard exec -i ... -- tar x -C DIR`"
        )
    with _opened(source) as file:
        counted = Counted(state, file)
        client.runtimes.write_file(runtime, path, counted)
        counted.done()
    _report(state, f"{runtime}:{path}", counted.count)


class Counted:
    """A file being read, with a line of progress on a terminal."""

    def __init__(self, state: State, file: BinaryIO) -> None:
        """Read from this file."""
        self._progress = Progress(state)
        self._file = file
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Read a block and count it."""
        block = self._file.read(size)
        self.count += len(block)
        self._progress.show(self.count)
        return block

    def done(self) -> None:
        """Take the progress line away."""
        self._progress.clear()


class Progress:
    """One line on stderr that says how much was copied; nothing when stderr is no terminal."""

    def __init__(self, state: State) -> None:
        """Be silent unless progress is wanted."""
        self._wanted = state.progress
        self._shown = 0

    def show(self, count: int) -> None:
        """Draw the line again, but not for every block."""
        if self._wanted and count - self._shown >= 1 << 20:
            self._shown = count
            sys.stderr.write(f"\r\x1b[K{size(count)}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._wanted and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """Open the local file; `-` is stdin, which must not be a terminal by accident."""
    if source == "-":
        if is_terminal(0):
            raise click.UsageError("stdin is a terminal; pipe the file into it")
        yield sys.stdin.buffer
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise click.FileError(source, error.strerror or "cannot be read") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _write_file(state: State, target: str, blocks: Iterator[bytes]) -> int:
    """Write through a sibling and rename; return the bytes."""
    sibling = f"{target}.part-{os.getpid()}"
    progress = Progress(state)
    count = 0
    try:
        with open(sibling, "wb") as file:
            for block in blocks:
                count += file.write(block)
                progress.show(count)
        os.replace(sibling, target)
    except OSError as error:
        raise click.FileError(target, error.strerror or "cannot be written") from error
    finally:
        progress.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(sibling)
    return count


def _report(state: State, where: str, count: int) -> None:
    """Say what was copied."""
    if state.as_json:
        print_json({"path": where, "bytes": count})
    elif is_terminal(2):
        state.say(f"{where}: {size(count)}")
