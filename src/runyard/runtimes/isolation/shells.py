"""Shells that were started before their script is known. Owns the few waiting ones of one sandbox and the rules of
which script such a shell may run; any other takes the ordinary way.

Starting a shell costs more than what most scripts do. A waiting one sits in `/bin/sh -c '. /proc/self/fd/9'` and reads
environment, folder and script from a pipe. What it then does is what `/bin/sh -c script` does (the contract tests
compare them) but for one thing: the shell's own diagnostics say `/bin/sh: 1: eval: x: not found`.
"""

import array
import asyncio
import contextlib
import fcntl
import os
import re
import shlex
import signal
import termios
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.agent import Agent, AgentProcess
from runyard.runtimes.isolation.engine import Command, Exit, OpenMode, SandboxGone, SpawnError, SpawnFailure
from runyard.runtimes.isolation.outcome import Ended, Outcome
from runyard.runtimes.isolation.protocol import EXTRA_FD, close_fds

_ARGV = ("/bin/sh", "-c", f". /proc/self/fd/{EXTRA_FD}")
_PIPE_ROOM = 60_000
"""A pipe takes 64 KiB at once; more would need a writer that waits."""
_REFILL_SECONDS = 0.001
"""Between taking a shell and starting the next: by then a short script has ended. Later, and a caller that asks again
at once finds none.
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NOT_THE_SAME = re.compile(r"LINENO|/proc/|\b(?:ps|pgrep|pkill|pidof|killall)\b|\bset\b[^\n]*\s[-+][a-z]*v")
"""Scripts that could see their shell's command line, which differs, or its input being read."""
_SHELL_VARIABLES = re.compile(
    r"(?:IFS|PPID|OPTIND|OPTARG|LINENO|PWD|OLDPWD|ENV|FUNCNAME|PS[0-9]|_|LD_.*|MALLOC_.*|GLIBC_.*|LOCPATH)\Z"
)
"""Variables that a starting shell or its loader treats differently from an assignment."""
_KNOWN_SHELL = "/usr/bin/dash"
"""The only shell whose source and behaviour were compared."""


class ShellProcess:
    """A waiting shell's process. When it is killed before it has read anything of its script, which a command inside
    that kills everything can do at any moment, the script is run by a fresh shell on the same pipes.
    """

    def __init__(
        self, agent: Agent, inner: AgentProcess, child_fds: tuple[int, int, int], script_fd: int
    ) -> None:
        """Take over the child's ends of its pipes and a read end of the script's; closed when it has ended."""
        self._agent = agent
        self._inner = inner
        self._child_fds = child_fds
        self._script_fd = script_fd
        self._cold: Command | None = None
        self._given = 0
        self._signalled = False
        self._again: asyncio.Task[None] | None = None
        self._outcome = Outcome()
        if inner.outcome.value is not None:
            self._settle(inner.outcome.value)
        inner.outcome.listener = self._inner_ended

    @property
    def pid(self) -> int:
        """The process id inside the sandbox."""
        return self._inner.pid

    @property
    def running(self) -> bool:
        """Tell whether no end of it is known yet."""
        return self._inner.running

    async def wait(self) -> Exit:
        """Return how the process ended; any number of callers may wait. Raises SandboxGone."""
        return await self._outcome.get()

    async def ended_within(self, seconds: float) -> Exit | None:
        """Return how the process ended when it does so within a short time, else None. Raises SandboxGone."""
        return await self._outcome.get_within(seconds)

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole process group; silently nothing when it is gone."""
        self._signalled = True
        self._inner.signal_group(signum)

    def given(self, script: str, env: Mapping[str, str], cwd: str, size: int) -> None:
        """Remember what it was given and wake it: the inside may have stopped everything it could find."""
        stdin, stdout, stderr = self._child_fds
        argv = (*_ARGV[:2], script)
        self._cold = Command(argv=argv, env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)
        self._given = size
        self._inner.signal_group(signal.SIGCONT)

    def _inner_ended(self, ended: Ended) -> None:
        killed = isinstance(ended, Exit) and ended.signal == signal.SIGKILL
        if killed and self._cold is not None and not self._signalled and self._unread() == self._given:
            self._again = asyncio.get_running_loop().create_task(self._run_cold(self._cold))
        else:
            self._settle(ended)

    async def _run_cold(self, command: Command) -> None:
        try:
            self._inner = await self._agent.spawn(command)
        except SpawnError as error:
            self._settle(Exit(code=127 if error.reason is SpawnFailure.NOT_FOUND else 126))
        except SandboxGone as gone:
            self._settle(gone)
        else:
            self._inner.outcome.listener = self._settle
            if self._inner.outcome.value is not None:
                self._settle(self._inner.outcome.value)
            elif self._signalled:
                self._inner.signal_group(signal.SIGKILL)

    def _unread(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._script_fd, termios.FIONREAD, count)
        return count[0]

    def _settle(self, ended: Ended) -> None:
        if self._outcome.value is None:
            close_fds((*self._child_fds, self._script_fd))
            self._outcome.settle(ended)


class PreparedShell:
    """A waiting shell that was taken. The three pipe ends belong to the taker."""

    def __init__(
        self, process: ShellProcess, entered: AbstractSet[str], fds: tuple[int, int, int, int]
    ) -> None:
        """Take over the descriptors: script, stdin, stdout, stderr. `entered` are folders known to exist."""
        self._process = process
        self._entered = entered
        self._script_fd, self._stdin, self._stdout, self._stderr = fds

    @property
    def process(self) -> ShellProcess:
        """The waiting shell, leader of its own session and group."""
        return self._process

    @property
    def stdin(self) -> int:
        """Write end of its standard input."""
        return self._stdin

    @property
    def stdout(self) -> int:
        """Read end of its standard output."""
        return self._stdout

    @property
    def stderr(self) -> int:
        """Read end of its standard error."""
        return self._stderr

    def run(self, script: str, env: Mapping[str, str], cwd: str) -> bool:
        """Give the shell its script, once. Return False when it has ended or could not run exactly this; it is then
        killed and a cold spawn is safe.
        """
        # A folder that does not exist must be a failed spawn, which only the cold way can tell.
        fits = cwd in self._entered and self._process.running
        payload = _payload(script, env, cwd) if fits else None
        try:
            # In one piece or not at all: the pipe is empty and has room.
            if payload is not None and os.write(self._script_fd, payload) == len(payload):
                self._process.given(script, env, cwd, len(payload))
                return True
        except OSError:
            pass
        finally:
            self._close_script()
        self._process.signal_group(signal.SIGKILL)
        return False

    def discard(self) -> None:
        """End a shell that nobody took, with its pipes."""
        self._close_script()
        close_fds((self._stdin, self._stdout, self._stderr))
        self._process.signal_group(signal.SIGKILL)

    def _close_script(self) -> None:
        if self._script_fd >= 0:
            os.close(self._script_fd)
            self._script_fd = -1

    def __del__(self) -> None:
        """Let the shell go: without a script it ends."""
        self._close_script()


class ShellPool:
    """The waiting shells of one sandbox; none before the first was asked for."""

    def __init__(self, agent: Agent, size: int) -> None:
        """Bound the number of waiting shells."""
        self._agent = agent
        self._size = size
        self._waiting: list[PreparedShell] = []
        self._filling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> PreparedShell | None:
        """Return a waiting shell, or None; replace it in the background, a little later: the taken one and its
        caller need the processors now.
        """
        if self._size == 0 or self._closed:
            return None
        taken = None
        while self._waiting and taken is None:
            shell = self._waiting.pop(0)
            if shell.process.running:
                taken = shell
            else:
                shell.discard()
        if self._filling is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_REFILL_SECONDS, self._refill)
        return taken

    def _refill(self) -> None:
        self._timer = None
        self._filling = asyncio.get_running_loop().create_task(self._fill())

    def close(self) -> None:
        """End all waiting shells."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._filling is not None:
            self._filling.cancel()
        while self._waiting:
            self._waiting.pop().discard()

    async def _fill(self) -> None:
        try:
            if not await self._shell_is_known():
                return
            while len(self._waiting) < self._size:
                shell = await self._start()
                if self._closed:
                    shell.discard()
                    return
                self._waiting.append(shell)
        except (RunyardError, OSError):
            pass  # a full or ending sandbox; the next `take` tries again
        finally:
            self._filling = None

    async def _shell_is_known(self) -> bool:
        # Each time: the inside may have replaced its shell.
        places = []
        for path in (_ARGV[0], _KNOWN_SHELL):
            file = await self._agent.open_file(path, OpenMode.READ)
            about = os.fstat(file.fd)
            os.close(file.fd)
            places.append((about.st_dev, about.st_ino))
        return places[0] == places[1]

    async def _start(self) -> PreparedShell:
        reads, writes = zip(*(os.pipe() for _ in range(4)), strict=True)
        script_r, stdin_r, stdout_r, stderr_r = reads
        script_w, stdin_w, stdout_w, stderr_w = writes
        ours = (script_w, stdin_w, stdout_r, stderr_r)
        command = Command(argv=_ARGV, stdin=stdin_r, stdout=stdout_w, stderr=stderr_w)
        try:
            os.set_blocking(script_w, False)
            process = await self._agent.spawn(command, script_r)
        except BaseException:
            close_fds((*ours, *reads[:2], stdout_w, stderr_w))
            raise
        shell = ShellProcess(self._agent, process, (stdin_r, stdout_w, stderr_w), script_r)
        return PreparedShell(shell, self._agent.entered, ours)


def _payload(script: str, env: Mapping[str, str], cwd: str) -> bytes | None:
    """Write what the waiting shell reads, or None when it would not behave the same."""
    if _NOT_THE_SAME.search(script) or any(_SHELL_VARIABLES.match(name) for name in env):
        return None
    # The shell drops names that are no identifiers, and so does one that is started with them.
    exports = [f"{name}={shlex.quote(value)}" for name, value in env.items() if _NAME.match(name)]
    lines = [
        f"exec {EXTRA_FD}<&-",
        # Anew, because the folder may have been replaced since; a fresh shell has no OLDPWD.
        f"cd -P -- {shlex.quote(cwd)} || exit 127; unset OLDPWD",
        *([f"export {' '.join(exports)}"] if exports else []),
        f"eval {shlex.quote(script)}",
        "",
    ]
    with contextlib.suppress(UnicodeEncodeError):
        payload = os.fsencode("\n".join(lines))
        if len(payload) <= _PIPE_ROOM and b"\0" not in payload:
            return payload
    return None
