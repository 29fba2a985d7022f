"""Runtimes and checkpoints over the native API. Owns their paths and bodies."""

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from runyard.client.errors import ApiError, ClientError
from runyard.client.http import Readable, Request, Transport, path_of, read_blocks
from runyard.client.models import Checkpoint, ExecResult, NewRuntime, Page, Runtime
from runyard.client.paging import each
from runyard.client.stream import ExecStart, ExecStream, open_stream

READY_SECONDS = 240.0
"""How long `wait_ready` waits unless told otherwise."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FAILED = frozenset({"error", "crashed", "deleting"})


class NotReady(ClientError):
    """The runtime did not become ready."""

    code = "failed_precondition"


class Runtimes:
    """The runtimes of the token's scope. Every `runtime` argument is an id or a name that is unique."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, *, status: Sequence[str] = (), limit: int | None = None) -> Iterator[Runtime]:
        """Yield runtimes, newest first, over all pages."""
        query = {"status": ",".join(status)} if status else {}
        return each(self._transport, path_of("runtimes"), Page[Runtime], query, limit)

    def get(self, runtime: str) -> Runtime:
        """Return one runtime."""
        return self._transport.call(Request("GET", path_of("runtimes", runtime), repeatable=True), Runtime)

    def identify(self, runtime: str) -> str:
        """Return the id for an id or a name. An id is not looked up, because the ledger outlives the runtime."""
        return runtime if _UUID.fullmatch(runtime) else self.get(runtime).id

    def create(self, new: NewRuntime, *, key: str | None = None) -> Runtime:
        """Create a runtime; it may still be `creating` when this returns.

        The same `key` and body give the same runtime, so that a call whose answer was lost can be repeated.
        """
        request = Request(
            "POST",
            path_of("runtimes"),
            json=new,
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
            timeout=120.0,
            repeatable=True,
        )
        return self._transport.call(request, Runtime)

    def delete(self, runtime: str) -> None:
        """Delete a runtime with its files; checkpoints and executions stay."""
        self._transport.send(Request("DELETE", path_of("runtimes", runtime), timeout=120.0))

    def order(self, runtime: str, verb: str) -> Runtime:
        """Give the order `start`, `stop`, `pause` or `resume`."""
        return self._transport.call(
            Request("POST", path_of("runtimes", runtime, verb), timeout=120.0), Runtime
        )

    def wait_ready(self, runtime: str, *, seconds: float = READY_SECONDS) -> Runtime:
        """Wait until a runtime is running. Raises NotReady when it failed or the time is over."""
        end = time.monotonic() + seconds
        pause = 0.05
        while True:
            now = self.get(runtime)
            if now.status == "running":
                return now
            if now.status in _FAILED:
                raise NotReady(
                    f"runtime {now.name} is {now.status}: {now.error_message or 'no reason given'}"
                )
            if time.monotonic() + pause > end:
                raise NotReady(f"runtime {now.name} is still {now.status} after {seconds:g} s")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def exec(
        self,
        runtime: str,
        command: str,
        args: Sequence[str] | None = None,
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout_secs: int | None = None,
    ) -> ExecResult:
        """Run a command to its end and return its output; with `args` an argv, without them a shell line.

        `timeout_secs` None or 0 means the server's default. Output is kept up to the server's cap, the first bytes.
        """
        given = {
            "command": command,
            "args": None if args is None else [*args],
            "stdin": stdin,
            "env": dict(env) if env else None,
            "cwd": cwd,
            "timeout_secs": timeout_secs,
        }
        body = {name: value for name, value in given.items() if value is not None}
        request = Request("POST", path_of("runtimes", runtime, "exec"), json=body, timeout=None)
        return self._transport.call(request, ExecResult)

    def stream(self, runtime: str, start: ExecStart) -> AbstractContextManager[ExecStream]:
        """Run a command with live input and output; use with `with`. Leaving the block early kills the command."""
        return open_stream(self._transport, path_of("runtimes", runtime, "exec", "stream"), start)

    @contextmanager
    def read_file(self, runtime: str, path: str) -> Iterator[Iterator[bytes]]:
        """Open a file inside for reading and hand out its blocks."""
        request = Request("GET", path_of("runtimes", runtime, "files"), query={"path": path}, timeout=120.0)
        with self._transport.stream(request) as response:
            yield response.iter_raw()

    def write_file(self, runtime: str, path: str, source: Readable) -> None:
        """Write a file inside, parents included, in blocks; an existing one is replaced."""
        request = Request(
            "PUT",
            path_of("runtimes", runtime, "files"),
            query={"path": path},
            content=read_blocks(source),
            headers={"Content-Type": "application/octet-stream"},
            timeout=120.0,
        )
        self._transport.send(request)


class Checkpoints:
    """Copies of writable layers."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, *, limit: int | None = None) -> Iterator[Checkpoint]:
        """Yield checkpoints, newest first, over all pages."""
        return each(self._transport, path_of("checkpoints"), Page[Checkpoint], {}, limit)

    def get(self, checkpoint: str) -> Checkpoint:
        """Return one checkpoint."""
        request = Request("GET", path_of("checkpoints", checkpoint), repeatable=True)
        return self._transport.call(request, Checkpoint)

    def create(self, runtime: str, name: str | None = None) -> Checkpoint:
        """Copy the writable files of a runtime; it may still be `creating` when this returns."""
        body = {"name": name} if name else {}
        request = Request("POST", path_of("runtimes", runtime, "checkpoints"), json=body, timeout=300.0)
        return self._transport.call(request, Checkpoint)

    def wait_ready(self, checkpoint: str, *, seconds: float = READY_SECONDS) -> Checkpoint:
        """Wait until a checkpoint is ready. Raises ApiError when it failed or the time is over."""
        end = time.monotonic() + seconds
        while True:
            now = self.get(checkpoint)
            if now.state == "ready":
                return now
            if now.state == "failed" or time.monotonic() > end:
                text = (
                    f"checkpoint {now.name} failed: {now.error_code}"
                    if now.error_code
                    else f"checkpoint {now.name} is {now.state}"
                )
                raise ApiError(text, status=409, code="failed_precondition")
            time.sleep(0.1)

    def delete(self, checkpoint: str) -> None:
        """Delete a checkpoint; runtimes made from it stay."""
        self._transport.send(Request("DELETE", path_of("checkpoints", checkpoint), timeout=120.0))
