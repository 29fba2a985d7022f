"""remote-shell-cmd and remote-shell-script: on other hosts over SSH, all at once. Owns connections and their results.

As published, host keys are not compared with anything unless a file of known hosts is configured. Nothing is started on
this host: the client speaks the protocol itself, with the password or key that it was given and no other.
"""

import asyncio
import shlex
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import asyncssh

from runyard.actions.packs.folder import entry_point_path
from runyard.actions.parameters.split import script_arguments
from runyard.actions.runners.boxes import OUTPUT_BYTES
from runyard.actions.runners.job import (
    TIMED_OUT_CODE,
    Job,
    canceled,
    decoded,
    failed,
    outcome,
    without_newline,
)
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.errors import InvalidArgument

DEFAULT_TIMEOUT: Final = 60.0
CONNECT_SECONDS: Final = 20.0
KILL_SECONDS: Final = 10.0
_PID_DIGITS: Final = 10
_LONGEST_FIRST: Final = 4096
"""Bytes of a first line beyond which it is no number: a host that prints without end is not kept in memory."""
_UNREACHABLE: Final = 255
_BLOCK: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Host:
    """Where to connect."""

    name: str
    port: int

    @property
    def shown(self) -> str:
        """Return the name under which the result of this host is kept."""
        return self.name


def hosts_of(text: str, port: int) -> list[Host]:
    """Read a list of hosts, each with a port if needed. Raises InvalidArgument."""
    found: list[Host] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        name, colon, number = part.rpartition(":") if part.count(":") == 1 else (part, "", "")
        if colon and not (number.isdigit() and 0 < int(number) < 65_536):
            raise InvalidArgument(f"the port of the host {part!r} is not valid")
        found.append(Host(name if colon else part.strip("[]"), int(number) if colon else port))
    if not found:
        raise InvalidArgument("no host was given")
    return found


class RemoteRunner:
    """Runs commands and scripts on other hosts."""

    def __init__(self, *, script: bool, known_hosts: Path | None = None) -> None:
        """Run the scripts of packs, or command lines."""
        self._script = script
        self._known_hosts = known_hosts

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run on all hosts. Raises InvalidArgument for a list of hosts that cannot be read."""
        hosts = hosts_of(job.text("hosts"), round(job.number("port", 22)))
        if self._script and job.pack_folder is None:
            return failed(f'the pack "{job.action.pack}" has no folder on this server')
        timeout = job.number("timeout", DEFAULT_TIMEOUT)
        tasks = [asyncio.ensure_future(self._on(host, job, context, timeout)) for host in hosts]
        ending = asyncio.ensure_future(context.cancelled.wait())
        everything = asyncio.ensure_future(asyncio.wait(tasks))
        try:
            await asyncio.wait((ending, everything), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, ending, everything):
                task.cancel()
            await asyncio.gather(*tasks, ending, everything, return_exceptions=True)
        if context.cancelled.is_set():
            return canceled(context)
        results = {host.shown: task.result() for host, task in zip(hosts, tasks, strict=True)}
        return outcome(_status(results), results)

    async def _on(self, host: Host, job: Job, context: RunContext, timeout: float) -> dict[str, Json]:
        """Run on one host; whatever goes wrong is the result of that host alone."""
        try:
            async with self._connected(host, job) as connection:
                if self._script:
                    async with self._uploaded(connection, job) as line:
                        return await _run(connection, line, job, context, timeout)
                return await _run(connection, job.text("cmd"), job, context, timeout)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            reason = f"Failed connecting to host {host.name}. {str(error) or type(error).__name__}"
            trace = "".join(traceback.format_exception_only(error))
            return {
                "failed": True, "succeeded": False, "return_code": _UNREACHABLE, "stdout": "", "stderr": "",
                "error": reason, "traceback": trace,
            }  # fmt: skip

    @asynccontextmanager
    async def _connected(self, host: Host, job: Job) -> AsyncIterator[asyncssh.SSHClientConnection]:
        options = self._options(job)
        async with AsyncExitStack() as stack:
            bastion = job.text("bastion_host")
            if bastion:
                (first,) = hosts_of(bastion, 22)
                tunnel = await stack.enter_async_context(
                    asyncssh.connect(first.name, port=first.port, **options)
                )
                options = {**options, "tunnel": tunnel}
            connection = await stack.enter_async_context(
                asyncssh.connect(host.name, port=host.port, **options)
            )
            yield connection

    def _options(self, job: Job) -> dict[str, Any]:
        key, password = job.text("private_key"), job.text("password")
        chosen: dict[str, Any] = {
            "known_hosts": None if self._known_hosts is None else str(self._known_hosts),
            "connect_timeout": CONNECT_SECONDS,
            "config": None,
            "agent_path": None,
            # Else the keys of the server's own user would be offered to whatever host a caller names.
            "client_keys": None,
        }
        if job.text("username"):
            chosen["username"] = job.text("username")
        if password:
            chosen["password"] = password
        if key:
            passphrase = job.text("passphrase") or None
            chosen["client_keys"] = [asyncssh.import_private_key(key, passphrase)]
        return chosen

    @asynccontextmanager
    async def _uploaded(self, connection: asyncssh.SSHClientConnection, job: Job) -> AsyncIterator[str]:
        """Put the script on the host for as long as it runs, and give the command line that runs it."""
        assert job.pack_folder is not None
        script = entry_point_path(job.pack_folder, job.action.entry_point)
        folder = PurePosixPath(job.text("dir", "/tmp")) / job.execution.id  # noqa: S108 - the published default
        target = str(folder / script.name)
        async with connection.start_sftp_client() as files:
            await files.mkdir(str(folder), asyncssh.SFTPAttrs(permissions=0o700))
            try:
                async with files.open(target, "wb") as file:
                    await file.write(await asyncio.to_thread(script.read_bytes))
                await files.chmod(target, 0o700)
                arguments = script_arguments(job.parameters, job.given.action, job.text("kwarg_op", "--"))
                yield shlex.join([target, *arguments])
            finally:
                with suppress(OSError, asyncssh.Error):
                    await files.remove(target)
                    await files.rmdir(str(folder))


async def _run(
    connection: asyncssh.SSHClientConnection, line: str, job: Job, context: RunContext, timeout: float
) -> dict[str, Json]:
    """Run a line on a connected host; what still runs when the time is up, or when somebody ended it, is killed there."""
    process = await connection.create_process(_wrapped(line, job), encoding=None)
    heads = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
    group = _Group()
    readers = (
        _drained(process.stdout, Stream.STDOUT, heads, context, group),
        _drained(process.stderr, Stream.STDERR, heads, context),
    )
    late = False
    try:
        if _sudo(job) and job.text("sudo_password"):
            process.stdin.write(f"{job.text('sudo_password')}\n".encode())
        process.stdin.write_eof()
        async with asyncio.timeout(timeout or None):
            await asyncio.gather(*readers)
            await process.wait_closed()
    except TimeoutError:
        late = True
    finally:
        if process.exit_status is None and process.exit_signal is None:
            await asyncio.shield(asyncio.ensure_future(_kill(connection, job, group)))
        process.close()
    return _result(process, heads, timeout, late=late)


class _Group:
    """The process group of a remote command, which its first line tells."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.number = 0

    def take(self, data: bytes) -> bytes:
        """Take the first line away and return what is behind it."""
        if self.number:
            return data
        self.head += data
        line, end, rest = bytes(self.head).partition(b"\n")
        if not end and len(self.head) <= _LONGEST_FIRST:
            return b""
        self.number = int(line) if line.isdigit() and len(line) < _PID_DIGITS else -1
        # A shell that printed something before is told of as it is: nothing is lost but the number.
        return rest if self.number > 0 else bytes(self.head)


async def _kill(connection: asyncssh.SSHClientConnection, job: Job, group: _Group) -> None:
    """Kill a group on its host. A signal through the channel would not do: servers refuse it for root, and closing
    the channel ends nothing.
    """
    if group.number <= 1:
        return
    number = group.number
    # Twice: what a shell has just begun may not be in its group's list yet; and sudo's child is in a group of its own.
    line = f"for s in TERM KILL; do kill -$s -- -{number}; pkill -$s -s {number}; sleep 0.1; done 2>/dev/null; true"
    with suppress(OSError, asyncssh.Error, TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            async with connection.create_process(_rooted(line, job), encoding=None) as killing:
                if _sudo(job) and job.text("sudo_password"):
                    killing.stdin.write(f"{job.text('sudo_password')}\n".encode())
                killing.stdin.write_eof()
                await killing.wait()


def _result(
    process: "asyncssh.SSHClientProcess[bytes]",
    heads: Mapping[Stream, bytearray],
    timeout: float,
    *,
    late: bool,
) -> dict[str, Json]:
    code = TIMED_OUT_CODE if late else process.returncode
    good = code == 0
    result: dict[str, Json] = {
        "failed": not good,
        "succeeded": good,
        "return_code": code,
        "stdout": decoded(without_newline(bytes(heads[Stream.STDOUT]))),
        "stderr": decoded(without_newline(bytes(heads[Stream.STDERR]))),
    }
    if late:
        result["error"] = f"Action failed to complete in {timeout:g} seconds"
        result["timeout"] = True
    return result


async def _drained(
    source: "asyncssh.SSHReader[bytes]",
    stream: Stream,
    heads: Mapping[Stream, bytearray],
    context: RunContext,
    group: _Group | None = None,
) -> None:
    head = heads[stream]

    def keep(data: bytes) -> None:
        context.output.write(stream, data)
        head.extend(data[: max(0, OUTPUT_BYTES - len(head))])

    while data := await source.read(_BLOCK):
        data = data if group is None else group.take(data)
        if data:
            keep(data)
    if group is not None and not group.number and group.head:
        keep(bytes(group.head))  # it ended before its first line did


def _sudo(job: Job) -> bool:
    return job.given.runner.get("sudo") is True


def _wrapped(line: str, job: Job) -> str:
    """Return the line with its folder and its variables, as root where asked for; its first output is its group."""
    exports = "".join(
        f"export {name}={shlex.quote(text)}; " for name, text in job.environment().items() if _fit(name)
    )
    folder = job.text("cwd", "/tmp")  # noqa: S108 - the published default
    whole = _rooted(f"{exports}cd {shlex.quote(folder)} && {{ {line}\n}}", job)
    return f"exec /bin/sh -c {shlex.quote(f'echo $$; {whole}')}"


def _rooted(line: str, job: Job) -> str:
    """Return a line for the shell, as root where asked for."""
    if not _sudo(job):
        return line
    if not job.text("sudo_password"):
        return f"sudo -n -E -- /bin/sh -c {shlex.quote(line)}"
    # Where sudo asks for no password, the line with it must not be what the command reads.
    return f"sudo -S -p '' -E -- /bin/sh -c {shlex.quote(f'exec < /dev/null; {line}')}"


def _fit(name: str) -> bool:
    return name.isidentifier() and name.isascii()


def _status(results: Mapping[str, Mapping[str, Json]]) -> Status:
    if all(one["succeeded"] for one in results.values()):
        return Status.SUCCEEDED
    failures = [one for one in results.values() if not one["succeeded"]]
    return Status.TIMEOUT if all(one.get("timeout") for one in failures) else Status.FAILED
