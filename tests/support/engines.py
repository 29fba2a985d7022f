"""Helpers to drive an isolation engine in tests. Owns pipes and their draining; asserts nothing."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation import hostns
from runyard.runtimes.isolation.engine import (
    Command,
    Engine,
    Exit,
    Limits,
    Network,
    OpenMode,
    Process,
    Sandbox,
    SandboxSpec,
)
from runyard.runtimes.isolation.namespaces import NamespacesEngine
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.process import ProcessEngine
from tests.support.agent import compiled_agent

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
SECONDS = 30.0
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left."""

    exit: Exit
    out: bytes
    err: bytes

    @property
    def code(self) -> int:
        """The status as a shell tells it."""
        return self.exit.shell_code

    @property
    def text(self) -> str:
        """Standard output without the last line break."""
        return self.out.decode(errors="replace").rstrip("\n")


class Running:
    """A started command with its pipes."""

    def __init__(self, process: Process, stdin: int, readers: Sequence["asyncio.Task[bytes]"]) -> None:
        """Take over the write end of stdin and the two readers."""
        self.process = process
        self._stdin = stdin
        self._readers = readers

    def write(self, data: bytes) -> None:
        """Write to standard input; a command that does not read it may be gone already."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin, data)

    def close_stdin(self) -> None:
        """End standard input."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    async def result(self) -> Result:
        """Wait for the end of process and pipes."""
        self.close_stdin()
        async with asyncio.timeout(SECONDS):
            ended = await self.process.wait()
            out, err = [await reader for reader in self._readers]
        return Result(ended, out, err)


async def drain(fd: int) -> bytes:
    """Read a pipe to its end and close it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    parts: list[bytes] = []
    try:
        while True:
            try:
                part = os.read(fd, 1 << 18)
            except BlockingIOError:
                readable = asyncio.Event()
                loop.add_reader(fd, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(fd)
                continue
            except OSError:  # a terminal whose slave is closed
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(fd)


async def start(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = ENV,
    cwd: str = "/root",
) -> Running:
    """Start a command with pipes."""
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
    try:
        process = await sandbox.spawn(
            Command(argv=argv, env=env, cwd=cwd, stdin=in_r, stdout=out_w, stderr=err_w)
        )
    except BaseException:
        for fd in (in_w, out_r, err_r):
            os.close(fd)
        raise
    finally:
        for fd in (in_r, out_w, err_w):
            os.close(fd)
    readers = [asyncio.ensure_future(drain(fd)) for fd in (out_r, err_r)]
    return Running(process, in_w, readers)


async def run(
    sandbox: Sandbox,
    *argv: str,
    stdin: bytes = b"",
    env: Mapping[str, str] = ENV,
    cwd: str = "/root",
) -> Result:
    """Run a command to its end."""
    running = await start(sandbox, argv, env=env, cwd=cwd)
    if stdin:
        running.write(stdin)
    return await running.result()


async def sh(
    sandbox: Sandbox, script: str, *, stdin: bytes = b"", env: Mapping[str, str] = ENV, cwd: str = "/root"
) -> Result:
    """Run a shell script to its end."""
    return await run(sandbox, "/bin/sh", "-c", script, stdin=stdin, env=env, cwd=cwd)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the kernel tells nobody about."""
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110  # there is no event to await
            await asyncio.sleep(0.02)


async def write_file(sandbox: Sandbox, path: str, data: bytes) -> None:
    """Write a file through the engine."""
    file = await sandbox.open_file(path, OpenMode.CREATE)
    assert file.publication is not None
    os.write(file.fd, data)
    os.close(file.fd)
    await file.publication.publish()


async def read_file(sandbox: Sandbox, path: str) -> bytes:
    """Read a file through the engine."""
    file = await sandbox.open_file(path, OpenMode.READ)
    with os.fdopen(file.fd, "rb") as stream:
        return stream.read()


def new_spec(**fields: object) -> SandboxSpec:
    """Return a spec with a fresh id."""
    sandbox_id = f"test-{os.getpid()}-{next(_serial)}"
    defaults: dict[str, object] = {
        "id": sandbox_id,
        "hostname": "box",
        "base": "host",
        "limits": Limits(),
        "network": Network.NONE,
    }
    return SandboxSpec(**(defaults | fields))  # type: ignore[arg-type]


def make_engine(kind: str, data_dir: Path, **settings: object) -> Engine:
    """Make an engine of a kind; not started."""
    defaults: dict[str, object] = {"data_dir": data_dir, "disk_pool_bytes": 4 << 30, "blank_layers": 1}
    if kind == "namespaces":
        defaults["agent_path"] = compiled_agent()
    options = IsolationOptions(**(defaults | settings))  # type: ignore[arg-type]
    return NamespacesEngine(options) if kind == "namespaces" else ProcessEngine(options)


async def why_unavailable(data_dir: Path) -> str:
    """Return why this host cannot run the namespaces engine, empty when it can."""
    if os.geteuid() != 0:
        return "not root"
    hostns.enter_private_mounts()
    engine = make_engine("namespaces", data_dir)
    try:
        await engine.start()
        sandbox = await engine.create(new_spec())
        await sandbox.destroy(keep_layer=False)
    except (RunyardError, OSError) as error:
        return str(error)
    finally:
        with contextlib.suppress(RunyardError, OSError):
            await engine.stop()
    return ""
