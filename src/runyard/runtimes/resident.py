"""What this server knows of one runtime that it hosts. Owns the in-memory record; decides nothing."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from runyard.kernel.clock import monotonic
from runyard.kernel.errors import RunyardError
from runyard.runtimes.definition import Definition
from runyard.runtimes.isolation.engine import Sandbox
from runyard.runtimes.model import Runtime


class Resident:
    """A runtime as last committed, its living sandbox and who uses it.

    Whoever changes the status or the sandbox holds `lock`. Reading needs no lock: all of it happens in one event loop.
    """

    __slots__ = (
        "active",
        "boot",
        "boot_error",
        "commands",
        "environment",
        "last_used",
        "lock",
        "masks",
        "runtime",
        "sandbox",
        "watch",
    )

    def __init__(self, runtime: Runtime) -> None:
        """Start without a sandbox."""
        self.runtime = runtime
        self.sandbox: Sandbox | None = None
        self.lock = asyncio.Lock()
        self.active = 0
        self.commands = 0
        self.last_used = monotonic()
        self.boot: asyncio.Task[None] | None = None
        self.boot_error: RunyardError | None = None
        """Why the last boot failed, in the words of the domain."""
        self.watch: asyncio.Task[None] | None = None
        self.environment: tuple[Definition, Mapping[str, str]] | None = None
        """The environment of commands, kept as long as the definition is the same and holds no secret."""
        self.masks: tuple[bytes, ...] = ()
        """Values of secrets that were injected into files, to be masked in all output."""

    @contextmanager
    def use(self) -> Iterator[None]:
        """Count as traffic: an idle policy neither acts meanwhile nor for its seconds afterwards."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self.last_used = monotonic()
