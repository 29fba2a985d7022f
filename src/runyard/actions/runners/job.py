"""What a runner gets and gives. Owns the job and the shapes of results; runs nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from runyard.actions import keepable
from runyard.actions.model import Action, RunnerType
from runyard.actions.parameters.split import Dispatched
from runyard.actions.parameters.validate import Parameters
from runyard.actions.runs.model import Run
from runyard.actions.values import Json, JsonObject
from runyard.executions.model import Execution, Outcome, Status
from runyard.executions.worker import RunContext
from runyard.kernel.ids import AccountId

TIMED_OUT_CODE: Final = -9
_SIGTERM: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, ready to go."""

    execution: Execution
    run: Run
    action: Action
    runner: RunnerType
    parameters: Parameters
    given: Dispatched
    config: JsonObject
    pack_folder: Path | None
    """Where the pack's files are; None for an action without a pack on disk."""
    token: str = ""
    """With which the run may call the server as long as it lasts."""
    secrets: frozenset[str] = frozenset()
    """Texts that nothing of the run may show: secret parameters, secrets of the configuration, the token."""

    @property
    def account(self) -> AccountId:
        """Return whose it is."""
        return self.execution.account_id

    def number(self, name: str, default: float) -> float:
        """Return a number among the runner's parameters."""
        value = self.given.runner.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def text(self, name: str, default: str = "") -> str:
        """Return a text among the runner's parameters."""
        value = self.given.runner.get(name)
        return default if value is None else str(value)

    def environment(self, api_url: str = "") -> dict[str, str]:
        """Return the variables that every action finds, with those of the caller; without an address none for calling
        the server: on another host they would lead nowhere and only show the token.
        """
        variables = {
            "ST2_ACTION_PACK_NAME": self.action.pack,
            "ST2_ACTION_EXECUTION_ID": self.execution.id,
            "ST2_ACTION_DEBUG": str(bool(self.given.runner.get("debug"))),
        }
        if api_url:
            variables |= {"ST2_ACTION_API_URL": api_url, "ST2_ACTION_AUTH_TOKEN": self.token}
        more = self.given.runner.get("env")
        if isinstance(more, Mapping):
            variables.update({str(name): "" if value is None else str(value) for name, value in more.items()})
        return variables


JobRunner: TypeAlias = Callable[[Job, RunContext], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """How a process ended, with the first of its output."""

    code: int | None
    """None when a signal ended it."""
    signal: int | None
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    canceled: bool = False
    out_of_memory: bool = False

    @property
    def return_code(self) -> int:
        """Return the status as results have it: a signal is a negative number."""
        if self.timed_out:
            return TIMED_OUT_CODE
        return self.code if self.code is not None else -(self.signal or 0)

    @property
    def status(self) -> Status:
        """Return the ledger's word, from the status of the process alone."""
        if self.canceled:
            return Status.CANCELED
        if self.timed_out:
            return Status.TIMEOUT
        if self.signal == _SIGTERM:
            return Status.ABANDONED
        return Status.SUCCEEDED if self.code == 0 else Status.FAILED


def outcome(status: Status, result: Mapping[str, Json] | None, reason: str | None = None) -> Outcome:
    """Return an end with a result."""
    return Outcome(status=status, result=result, reason=reason)


def failed(error: str, trace: str = "") -> Outcome:
    """Return the end of a run whose runner could not do it."""
    return Outcome(
        status=Status.FAILED, reason=error, result={"error": error, "traceback": trace or f"{error}\n"}
    )


def canceled(context: RunContext) -> Outcome:
    """Return the end of a run that somebody ended; who did is in the context of the run."""
    return Outcome(status=Status.CANCELED, reason=context.cancel_reason)


def without_newline(data: bytes) -> str:
    """Decode output and take one trailing line end away."""
    text = data.decode("utf-8", "replace")
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")


def decoded(text: str) -> Json:
    """Return what a text says in JSON, else the text: published, and workflows depend on it."""
    stripped = text.strip()
    if not stripped or stripped[0] not in '{["-0123456789tfn':
        return text
    try:
        return keepable.read(stripped.encode())
    except ValueError:
        return text
