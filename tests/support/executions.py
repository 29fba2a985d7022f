"""Executions as tests make them: a tenant, a request, runners. Owns no database."""

import asyncio
from dataclasses import dataclass, field

from runyard.executions.model import Kind, NewExecution, Outcome, Place, Status
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RuntimeId


@dataclass(frozen=True)
class TestTenant:
    """An account with a root project; stands where an identity scope stands."""

    __test__ = False

    account_id: AccountId = field(default_factory=AccountId.new)
    root_id: ProjectId = field(default_factory=ProjectId.new)
    below: tuple[ProjectId, ...] = ()

    @property
    def project_path(self) -> str:
        """The path of the project that this tenant is narrowed to."""
        return "/" + "/".join((self.root_id, *self.below)) + "/"

    def narrowed(self, *projects: ProjectId) -> "TestTenant":
        """Return the same account narrowed to a project below."""
        return TestTenant(self.account_id, self.root_id, (*self.below, *projects))


def new_execution(tenant: TestTenant, name: str = "job", **given: object) -> NewExecution:
    """Return a request of an exec in a runtime."""
    fields: dict[str, object] = {
        "account_id": tenant.account_id,
        "project_id": (tenant.below or (tenant.root_id,))[-1],
        "project_path": tenant.project_path,
        "kind": Kind.EXEC,
        "name": name,
        "actor": "admin",
        "door": "native",
        "place": Place("runtime", RuntimeId.new(), "box"),
        "command": f"sh -c {name}",
    }
    return NewExecution(**(fields | given))  # type: ignore[arg-type]


async def succeed(context: RunContext) -> Outcome:
    """Print a line and end well."""
    context.output.write(Stream.STDOUT, b"hello from the run\n")
    return Outcome(status=Status.SUCCEEDED, exit_code=0)


async def until_canceled(context: RunContext) -> Outcome:
    """Run until told to end."""
    await context.cancelled.wait()
    return Outcome(status=Status.CANCELED, reason=context.cancel_reason)


@dataclass
class Gate:
    """A runner that tests hold and let go."""

    entered: list[ExecutionId] = field(default_factory=list)
    _events: dict[str, asyncio.Event] = field(default_factory=dict)
    _arrivals: asyncio.Queue[ExecutionId] = field(default_factory=asyncio.Queue)

    async def run(self, context: RunContext) -> Outcome:
        """Wait until the test opens the gate for this execution."""
        execution_id = context.execution.id
        self.entered.append(execution_id)
        self._arrivals.put_nowait(execution_id)
        await self._event(execution_id).wait()
        return Outcome(status=Status.SUCCEEDED, exit_code=0)

    async def next(self) -> ExecutionId:
        """Wait for the next execution to begin."""
        return await asyncio.wait_for(self._arrivals.get(), 10)

    def open(self, execution_id: ExecutionId) -> None:
        """Let one execution end."""
        self._event(execution_id).set()

    def _event(self, execution_id: ExecutionId) -> asyncio.Event:
        return self._events.setdefault(execution_id, asyncio.Event())
