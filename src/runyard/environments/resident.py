"""What one server knows of a living environment: its sandboxes, its services and who runs commands in it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runyard.environments.egress import Gateway
from runyard.environments.errors import TooManyExecutes
from runyard.environments.model import Environment
from runyard.environments.proxies import Proxy
from runyard.executions.drain import HeadTail
from runyard.executions.service import ExecutionHandle
from runyard.runtimes.isolation.engine import PrivateNetwork, Sandbox

LOG_BYTES = 128 << 10
"""Of each service's output in the logs of an environment."""


@dataclass(slots=True)
class Service:
    """One service of an environment and the sandbox in which it runs."""

    name: str
    sandbox: Sandbox
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of its program, and of commands in it."""
    cwd: str = "/"
    address: str = ""
    task: "asyncio.Task[None] | None" = None
    """Follows its process."""
    ended: str | None = None
    """How its process ended."""
    log: HeadTail = field(default_factory=lambda: HeadTail(LOG_BYTES))
    """The first and the last of what it printed."""


@dataclass(slots=True)
class Living:
    """The sandboxes of an environment, as far as they are made."""

    main: Sandbox | None = None
    services: dict[str, Service] = field(default_factory=dict)
    networks: dict[str, PrivateNetwork] = field(default_factory=dict)
    proxies: list[Proxy] = field(default_factory=list)
    gateway: Gateway | None = None
    """The way out where a task lists its targets."""
    proxy_env: dict[str, dict[str, str]] = field(default_factory=dict)
    """The variables by which programs find it, by sandbox."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of commands."""
    base_env: Mapping[str, str] = field(default_factory=dict)
    """What of it comes from the image."""
    cwd: str = "/root"

    @property
    def sandboxes(self) -> Sequence[Sandbox]:
        """Return each of them once."""
        found = {} if self.main is None else {self.main.id: self.main}
        return list((found | {one.sandbox.id: one.sandbox for one in self.services.values()}).values())


class Gate:
    """Lets so many commands run at once, lets some more wait in line, and refuses the rest."""

    def __init__(self, at_once: int, waiting: int, wait_secs: float) -> None:
        """Start empty."""
        self._wait_secs = wait_secs
        self._free = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._most = at_once + waiting
        self._inside = 0

    async def enter(self) -> None:
        """Wait for a place; give it back by `leave`. Raises TooManyExecutes."""
        if self._inside >= self._most:
            raise TooManyExecutes(
                f"this environment runs {self._at_once} commands, and {self._most - self._at_once} wait already",
                retry_after=2.0,
            )
        self._inside += 1
        try:
            if self._free.locked():
                async with asyncio.timeout(self._wait_secs):
                    await self._free.acquire()
            else:
                await self._free.acquire()
        except TimeoutError:
            self._inside -= 1
            raise TooManyExecutes(
                f"this environment runs {self._at_once} commands, and none ended in time", retry_after=5.0
            ) from None
        except BaseException:
            self._inside -= 1
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._inside -= 1
        self._free.release()


class Resident:
    """An environment that lives here, or is about to, or is being cleared away."""

    def __init__(self, environment: Environment, token_digest: bytes, gate: Gate) -> None:
        """Begin with a row."""
        self.environment = environment
        self.token_digest = token_digest
        self.gate = gate
        self.secrets: Mapping[str, str] = {}
        """The secret variables."""
        self.living = Living()
        self.usable = asyncio.Event()
        """Set when it is ready and its sandboxes are up, or when it has ended."""
        self.provision: ExecutionHandle | None = None
        self.returning: asyncio.Task[None] | None = None
        """Brings it back after a restart."""
        self.clearing: asyncio.Task[None] | None = None
        self.commands: set[ExecutionHandle] = set()

    @property
    def masks(self) -> Sequence[bytes]:
        """Return what is masked in all that is kept."""
        return [value.encode() for value in self.secrets.values() if value]
