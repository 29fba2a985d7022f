"""The runtimes domain over a database and a fake engine. Owns its parts; asserts nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from runyard.database.engine import Database
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.crypto import Vault
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.commands import CommandService
from runyard.runtimes.definition import Definition
from runyard.runtimes.files import FileService
from runyard.runtimes.injection import Injector
from runyard.runtimes.options import RuntimesOptions
from runyard.runtimes.resident import Resident
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.service import NewRuntime, RuntimeService
from runyard.runtimes.supervisor import Supervisor
from tests.fakes.engine import FakeEngine

ADMIN = "ry_admin_for_tests_0123456789abcdef0123456789"


class Yard:
    """All services of runtimes; `restarted` is another server on the same data."""

    def __init__(self, database: Database, folder: Path, options: RuntimesOptions) -> None:
        """Put the parts together."""
        self.database, self.folder, self.options = database, folder, options
        self.engine = FakeEngine(folder / "files")
        self.identity = IdentityService(database)
        self.executions = ExecutionService(database, OutputLog(folder / "output"))
        self.vault = vault = Vault(folder / "keys")
        injector = Injector(database, vault)
        self.supervisor = Supervisor(database, self.engine, injector, options)
        self.secrets = SecretService(database, vault, injector)
        self.checkpoints = CheckpointService(database, self.engine, options)
        self.runtimes = RuntimeService(
            database, self.engine, self.supervisor, self.secrets, self.checkpoints, options
        )
        self.commands = CommandService(self.executions, self.supervisor, injector, options.exec)
        self.files = FileService(self.supervisor)
        self.me: Principal
        self._stopped = False

    async def start(self) -> "Yard":
        """Start everything."""
        await self.identity.bootstrap(ADMIN)
        self.me = await self.identity.authenticate(ADMIN)
        await self.executions.recover()
        await self.checkpoints.start()
        await self.supervisor.start()
        return self

    async def stop(self) -> None:
        """Stop everything but the database; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        await self.checkpoints.stop()
        await self.supervisor.stop()
        await self.executions.stop(1)
        await self.engine.stop()
        self.commands.close()

    async def restarted(self, options: RuntimesOptions | None = None) -> "Yard":
        """Kill this server and start another one on its data; the engine keeps layers and checkpoints only."""
        self._stopped = True
        await self.supervisor.stop()
        for task in self.checkpoints._copies:
            task.cancel()
        await self.executions.stop(1)
        self.commands.close()
        other = Yard(self.database, self.folder, options or self.options)
        other.engine.kept = self.engine.kept
        other.engine.checkpoints = self.engine.checkpoints
        return await other.start()

    async def create(self, **fields: object) -> Resident:
        """Make a runtime and return its resident."""
        new = NewRuntime(definition=Definition(**fields))  # type: ignore[arg-type]
        runtime = await self.runtimes.create(self.me, new)
        return await self.runtimes.resident(self.me.scope, runtime.id)


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what is awaited has no event of its own
            await asyncio.sleep(0.002)
