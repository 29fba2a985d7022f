"""What runs need of the rest of infrastructure. Owns the vocabulary; the other packages implement it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from runyard.database.engine import Transaction
from runyard.identity.model import Principal
from runyard.infrastructure.runs.model import Block, Run
from runyard.infrastructure.workspaces.model import Workspace


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """The variables of a workspace, with every scope and set worked out."""

    environment: Mapping[str, str] = {}
    """Of the tool's process; secret input variables come here as `TF_VAR_<name>`."""
    terraform: Mapping[str, Any] = {}
    """Input variables that are no secret, as JSON values."""
    secrets: Sequence[str] = ()
    """Values to be masked wherever they show."""


class Variables(Protocol):
    """The variables of workspaces."""

    async def resolve(self, workspace: Workspace) -> Resolved:
        """Work out the variables that a run of this workspace gets. Raises RunyardError with the reason."""
        ...


class BackendAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tool finds its state: the server's own `http` backend, on a path of this server."""

    path: str
    """Of the state, `/...`; read with GET, written with POST, locked with LOCK and UNLOCK."""
    username: str
    password: str
    """Good for this run alone, and for no longer than it may take."""


class State(Protocol):
    """The states of workspaces."""

    async def backend(self, workspace: Workspace, run: Run, phase: str) -> BackendAccess:
        """Give a run access to the state of its workspace, for the phase `plan` or `apply`."""
        ...

    async def locked_by(self, workspace: Workspace) -> str | None:
        """Tell who holds the state's lock, None when nobody does."""
        ...

    async def release(self, run: Run) -> None:
        """Take the access of a run away and release the state's lock if this run holds it; idempotent."""
        ...


class PlanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a plan."""

    has_changes: bool
    """Resources or outputs would change."""
    counts: Mapping[str, int] = {}
    """Planned actions: add, change, destroy, replace, import, drift, ..."""


class Plans(Protocol):
    """What is kept of plans: resources, outputs, drift, changed files; masked."""

    async def ingest(
        self, workspace: Workspace, run: Run, show_json: Path, secrets: Sequence[str] = ()
    ) -> PlanSummary:
        """Read the output of `show -json` and keep what is shown of it, without any of `secrets`. Raises
        InvalidArgument when it is no plan.
        """
        ...

    async def keep_changed_files(
        self, workspace: Workspace, run: Run, patch: bytes, checkout: Path, secrets: Sequence[str] = ()
    ) -> None:
        """Keep the patch of the commit that is planned, as git prints it."""
        ...

    async def mark_applied(self, run: Run, lines: Iterable[bytes]) -> None:
        """Note what became of each resource, from the lines that an apply with `-json` printed."""
        ...


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What guardrails say to a plan."""

    block: Block = Block.NONE
    violations: Sequence[Mapping[str, Any]] = ()
    """One document for each: rule id, name, type, severity, message, resource address."""


class Judge(Protocol):
    """The guardrails."""

    async def judge(self, workspace: Workspace, run: Run, show_json: Path) -> Verdict:
        """Judge a plan whose `show -json` is in a file; it was ingested before."""
        ...

    async def acknowledge(self, tx: Transaction, caller: Principal, workspace: Workspace, run: Run) -> None:
        """Note, in the transaction that lets a run go on, that a person accepts its violations. Raises
        PermissionDenied, FailedPrecondition (it is not theirs to accept), which undoes that transaction.
        """
        ...


class Oidc(Protocol):
    """Tokens by which a run proves to a cloud what it is."""

    async def token(self, workspace: Workspace, run: Run, phase: str) -> str | None:
        """Make a token for the phase `plan` or `apply`; None when the workspace does not use them."""
        ...


class RepositoryAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a repository."""

    url: str
    """`https://`, `http://`, `ssh://`, `git@host:path` or `file://`, without credentials."""
    username: str = ""
    password: str = ""
    """A token or password for http(s); never put into a URL or an argument."""
    ssh_key: str = ""
    """A private key in PEM or OpenSSH form."""
    known_hosts: str = ""
    """Lines of host keys that are accepted; empty accepts the host's key of the first contact."""


class Repositories(Protocol):
    """The repositories behind the integrations."""

    async def access(self, workspace: Workspace) -> RepositoryAccess:
        """Return how to reach the repository of a workspace. Raises NotFound, FailedPrecondition with the reason."""
        ...


class Schedules(Protocol):
    """The defaults that projects set for their workspaces."""

    async def project_crons(self) -> Mapping[str, str]:
        """Return the cron expression of each project that names one, by the project's path, in all accounts."""
        ...
