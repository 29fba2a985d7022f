"""Running one command remotely from this terminal. Owns raw mode, resizing, forwarded input and what Ctrl-C does.

The exit status is that of the remote command. Whatever way this ends, nothing is silently left running: leaving closes
the connection, and the server kills the command then.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from runyard.cli.kit.exits import CONTROL_PLANE, INTERRUPTED
from runyard.cli.kit.output import print_json, write_bytes
from runyard.cli.kit.state import State, is_terminal
from runyard.client.errors import ClientError
from runyard.client.models import ExecResult
from runyard.client.stream import Ended, ExecStart, ExecStream, Printed, Started

if TYPE_CHECKING:
    from runyard.client.client import Client

SECOND_WITHIN = 2.0
"""Seconds in which a second Ctrl-C kills."""
KILL_PATIENCE = 2.0
"""Seconds that a killed command gets to report its end."""
JSON_CAP = 16 << 20
"""Bytes of each stream that `--json` keeps."""
BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Wish:
    """What to run and how it hangs on this terminal."""

    argv: Sequence[str]
    shell: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    timeout_secs: int | None = None
    interactive: bool = False
    tty: bool = False

    def start(self) -> ExecStart:
        """Return the start frame's content, with the size of this terminal when one is asked for."""
        size = shutil.get_terminal_size() if self.tty else None
        return ExecStart(
            command=self.argv[0] if self.shell is None else self.shell,
            args=list(self.argv[1:]) if self.shell is None else None,
            env=self.env,
            cwd=self.cwd,
            timeout_secs=self.timeout_secs,
            tty=self.tty,
            rows=size.lines if size else None,
            cols=size.columns if size else None,
        )


@dataclass
class Kept:
    """One stream as `--json` keeps it: the first bytes."""

    data: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def add(self, data: bytes) -> None:
        """Keep what fits."""
        room = JSON_CAP - len(self.data)
        self.data += data[:room]
        self.truncated = self.truncated or len(data) > room

    @property
    def text(self) -> str:
        """Return the bytes as text; what is no UTF-8 is replaced."""
        return self.data.decode("utf-8", "replace")


class Interrupts:
    """What SIGINT means while a command runs: the first is forwarded, a second within two seconds kills.

    A handler runs between two instructions of the main thread, which may hold a lock of the socket. So handlers only
    put work into a queue, and a thread of its own sends.
    """

    def __init__(self, state: State, stream: ExecStream) -> None:
        """Watch over one stream."""
        self._state = state
        self._stream = stream
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._last: float | None = None
        self.killed = False

    def on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Take one Ctrl-C."""
        now = time.monotonic()
        again = self._last is not None and now - self._last <= SECOND_WITHIN
        self._last = now
        if again:
            self.killed = True
            self._work.put(self._kill)
        else:
            self._work.put(lambda: self._stream.signal("INT"))
            self._work.put(lambda: self._state.say("interrupt sent; Ctrl-C again within 2 s kills"))

    def on_resize(self, _number: int, _frame: FrameType | None) -> None:
        """Pass on the new size of the terminal."""
        self._work.put(self._resize)

    @contextlib.contextmanager
    def installed(self, *, tty: bool) -> Iterator[None]:
        """Handle signals within the block."""
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        wanted = {signal.SIGINT: self.on_interrupt, **({signal.SIGWINCH: self.on_resize} if tty else {})}
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._work.put(None)

    def _send(self) -> None:
        """Do the queued work until there is none any more."""
        while (work := self._work.get()) is not None:
            work()

    def _resize(self) -> None:
        size = shutil.get_terminal_size()
        self._stream.resize(size.lines, size.columns)

    def _kill(self) -> None:
        """Kill the command, and close the connection when even that is not answered; closing kills too."""
        self._stream.signal("KILL")
        timer = threading.Timer(KILL_PATIENCE, self._stream.close)
        timer.daemon = True
        timer.start()


def run_remotely(state: State, client: "Client", runtime: str, wish: Wish) -> int:
    """Run the wish in a runtime and return the exit status for this process."""
    kept = {"stdout": Kept(), "stderr": Kept()} if state.as_json else None
    interrupts: Interrupts | None = None
    try:
        with client.runtimes.stream(runtime, wish.start()) as stream:
            interrupts = Interrupts(state, stream)
            with interrupts.installed(tty=wish.tty), raw_terminal(wanted=wish.tty and wish.interactive):
                feed(stream, interactive=wish.interactive)
                ended = watch(stream, kept)
    except ClientError:
        if interrupts is not None and interrupts.killed:
            return INTERRUPTED
        raise
    if kept is not None:
        print_json(result_of(ended, kept))
    else:
        explain(state, ended)
    return INTERRUPTED if interrupts.killed else exit_status(ended)


def watch(stream: ExecStream, kept: dict[str, Kept] | None) -> Ended:
    """Print or keep output until the command ends."""
    for event in stream.events():
        match event:
            case Printed(name, data) if kept is not None:
                kept[name].add(data)
            case Printed(name, data):
                write_bytes(2 if name == "stderr" else 1, data)
            case Ended():
                return event
            case Started():
                continue
    raise AssertionError("a stream ends with Ended or an error")


def feed(stream: ExecStream, *, interactive: bool) -> None:
    """Forward our input from a thread of its own, or say at once that there is none."""
    if not interactive:
        stream.close_stdin()
        return

    def pump() -> None:
        while data := _read_input():
            stream.send_stdin(data)
        stream.close_stdin()

    threading.Thread(target=pump, daemon=True).start()


def _read_input() -> bytes:
    """Read what is there; an input that cannot be read is at its end."""
    try:
        return os.read(0, BLOCK_BYTES)
    except OSError:
        return b""


@contextlib.contextmanager
def raw_terminal(*, wanted: bool) -> Iterator[None]:
    """Hand all keys to the remote terminal within the block; the local one is as before after it."""
    if not wanted or not is_terminal(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def ends_cleanly() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an ordinary way out within the block, so that what must be undone is undone."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_status(ended: Ended) -> int:
    """Return the remote status as this process can say it; one outside of 0 to 255 is a failure of the carrier."""
    return ended.exit_code if 0 <= ended.exit_code <= 255 else CONTROL_PLANE


def result_of(ended: Ended, kept: dict[str, Kept]) -> ExecResult:
    """Return the document that `--json` prints."""
    return ExecResult(
        execution_id=ended.execution_id,
        runtime_id=ended.runtime_id,
        exit_code=exit_status(ended),
        ended_by=ended.ended_by,
        reason=ended.reason,
        stdout=kept["stdout"].text,
        stderr=kept["stderr"].text,
        stdout_truncated=kept["stdout"].truncated,
        stderr_truncated=kept["stderr"].truncated,
        duration_ms=ended.duration_ms,
    )


def explain(state: State, ended: Ended) -> None:
    """Say who ended the command when it was not the command itself, and where its log is."""
    if ended.ended_by in (None, "command", "exit"):
        return
    reason = f": {ended.reason}" if ended.reason else ""
    log = f"; its log: runyard logs {ended.execution_id}" if ended.execution_id else ""
    state.say(f"ended by {ended.ended_by}{reason}{log}")
