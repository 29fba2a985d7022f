"""The runtimes domain put together. Owns the order in which its parts are made, started and stopped."""

from dataclasses import dataclass

from runyard.database.engine import Database
from runyard.executions.service import ExecutionService
from runyard.kernel.crypto import Vault
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.commands import CommandService
from runyard.runtimes.files import FileService
from runyard.runtimes.injection import Injector
from runyard.runtimes.isolation.engine import Engine
from runyard.runtimes.options import RuntimesOptions
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.service import RuntimeService
from runyard.runtimes.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimesDomain:
    """All services of runtimes over one engine."""

    supervisor: Supervisor
    runtimes: RuntimeService
    commands: CommandService
    files: FileService
    checkpoints: CheckpointService
    secrets: SecretService

    @classmethod
    def build(
        cls,
        database: Database,
        engine: Engine,
        executions: ExecutionService,
        vault: Vault,
        options: RuntimesOptions,
    ) -> "RuntimesDomain":
        """Make the services; nothing runs before `start`."""
        injector = Injector(database, vault)
        supervisor = Supervisor(database, engine, injector, options)
        checkpoints = CheckpointService(database, engine, options)
        secrets = SecretService(database, vault, injector)
        return cls(
            supervisor=supervisor,
            runtimes=RuntimeService(database, engine, supervisor, secrets, checkpoints, options),
            commands=CommandService(executions, supervisor, injector, options.exec),
            files=FileService(supervisor),
            checkpoints=checkpoints,
            secrets=secrets,
        )

    async def start(self) -> None:
        """Take up what an earlier server left. The engine is started and the ledger recovered before."""
        await self.checkpoints.start()
        await self.supervisor.start()

    async def stop(self) -> None:
        """Stop after the last request and before the executions, the engine and the database are stopped."""
        await self.checkpoints.stop()
        await self.supervisor.stop()

    def close(self) -> None:
        """Give back what was opened, after the executions are stopped."""
        self.commands.close()
