"""One phase of a run at work: what it has, how it fails and how it is stopped. Owns the environment of the tool.

Whatever goes wrong is one of two exceptions here: `Failed`, with a sentence for people, and `Stopped`, when somebody
asked for the end.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.infrastructure.provisioner.box import Box, Ended, Sink
from runyard.infrastructure.provisioner.tools import Tool
from runyard.infrastructure.runs.model import Run
from runyard.infrastructure.runs.ports import BackendAccess, Resolved
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import FailedPrecondition
from runyard.runtimes.isolation.engine import SandboxGone, SpawnError
from runyard.runtimes.leash import Why

CODE: Final = "code"
DATA: Final = "data"
HOME: Final = "home"
PLAN: Final = "plan.bin"
CLI_CONFIG: Final = "cli.tfrc"
TOKEN: Final = "oidc-token"
TOOLS: Final = "tools"
PROVIDERS: Final = "providers"
OVERRIDE: Final = "zzzz_runyard_override.tf"
"""Merged last, so that it has the last word on where the state is."""
VARIABLES: Final = "zzzz_runyard.auto.tfvars.json"
BACKEND: Final = b'terraform {\n  backend "http" {}\n}\n'
_OURS: Final = (
    "TF_DATA_DIR",
    "TF_CLI_CONFIG_FILE",
    "TERRAFORM_CONFIG",
    "TF_INPUT",
    "TF_PLUGIN_CACHE_DIR",
    "TF_REATTACH_PROVIDERS",
    "TF_WORKSPACE",
)
_PLACES: Final = ("address", "lock_address", "unlock_address", "username", "password")
_OURS_BEGIN: Final = ("TF_HTTP_", "TF_CLI_ARGS", "LD_")


class Failed(FailedPrecondition):
    """The run failed."""

    code = "run_failed"

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        """Say why, and whether it took too long."""
        super().__init__(message)
        self.timed_out = timed_out


class Stopped(FailedPrecondition):
    """The run was stopped."""

    code = "run_stopped"


@dataclass(slots=True, kw_only=True)
class Job:
    """A phase at work."""

    context: RunContext
    run: Run
    workspace: Workspace
    phase: str
    tool: Tool
    resolved: Resolved
    own: Mapping[str, str]
    """Input variables of this run alone."""
    more_secrets: Sequence[str] = ()
    access: BackendAccess
    token: str | None
    deadline: float
    """On the clock of the loop."""
    command_secs: float

    @property
    def secrets(self) -> Sequence[str]:
        """Return what must show nowhere."""
        more = (self.access.password, self.token or "")
        return [secret for secret in (*self.resolved.secrets, *self.more_secrets, *more) if secret]

    def hide(self) -> None:
        """Mask the secrets in all that is kept of the execution, as they are and as JSON writes them."""
        texts = {form for secret in self.secrets for form in (secret, json.dumps(secret)[1:-1])}
        self.context.hide([text.encode() for text in sorted(texts)])

    def say(self, line: str) -> None:
        """Write a line of the server's own into the output."""
        self.context.output.write(Stream.SYSTEM, f"{line}\n".encode())

    def write(self, data: bytes) -> None:
        """Write into the output as the tool."""
        self.context.output.write(Stream.STDOUT, data)

    def check_stopped(self) -> None:
        """Raise when somebody asked for the end, or the time of the whole run is up."""
        if self.context.cancelled.is_set():
            raise Stopped(self.context.cancel_reason or "cancelled")
        if self.left <= 0:
            raise Failed("the run took too long", timed_out=True)

    @property
    def left(self) -> float:
        """Return the seconds that the whole run may still take."""
        return self.deadline - asyncio.get_running_loop().time()

    def variables(self) -> bytes:
        """Return the input variables that are no secret, as the file that the tool reads."""
        mine = {name: value for name, value in self.resolved.terraform.items() if name not in self.own}
        return json.dumps(mine).encode()

    def environment(self, box: Box, address: str) -> dict[str, str]:
        """Return the environment of the tool: the workspace's variables, and over them what is the server's."""
        given = {name: value for name, value in self.resolved.environment.items() if _allowed(name)}
        given |= {f"TF_VAR_{name}": value for name, value in self.own.items()}
        path = f"{box.place(TOOLS)}:{given.get('PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')}"
        state = f"{address}{self.access.path}"
        ours = {
            "PATH": path,
            "HOME": box.place(HOME),
            "TF_DATA_DIR": box.place(DATA),
            "TF_CLI_CONFIG_FILE": box.place(CLI_CONFIG),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
            "TF_HTTP_ADDRESS": state,
            "TF_HTTP_LOCK_ADDRESS": state,
            "TF_HTTP_UNLOCK_ADDRESS": state,
            "TF_HTTP_USERNAME": self.access.username,
            "TF_HTTP_PASSWORD": self.access.password,
            "RUNYARD_RUN_ID": str(self.run.id),
            "RUNYARD_WORKSPACE_ID": str(self.workspace.id),
            "RUNYARD_WORKSPACE_NAME": self.workspace.name,
        }
        if self.token is not None:
            ours["TFC_WORKLOAD_IDENTITY_TOKEN"] = self.token
            ours["AWS_WEB_IDENTITY_TOKEN_FILE"] = box.place(TOKEN)
        return {"TF_IN_AUTOMATION": "1", "LANG": "C.UTF-8", **given, **ours}

    async def tool_command(
        self,
        box: Box,
        environment: Mapping[str, str],
        arguments: Sequence[str],
        *,
        folder: str,
        kept: Sink | None = None,
        limit: int = 0,
        good: Sequence[int] = (0,),
    ) -> int:
        """Run the tool and return its status. Raises Failed, Stopped, TooLarge."""
        self.check_stopped()
        shown = " ".join((self.tool.program, *arguments))
        self.say(f"$ {shown}")
        seconds = min(self.command_secs, self.left)
        try:
            ended = await box.run(
                self.context,
                (f"{box.place(TOOLS)}/{self.tool.program}", *arguments),
                environment,
                folder=folder,
                timeout_secs=seconds,
                kept=kept,
                limit=limit,
            )
        except (SpawnError, SandboxGone) as error:
            raise Failed(f"{self.tool.program} could not be run: {error.message}") from None
        return self._judged(ended, arguments[0], good, seconds)

    def _judged(self, ended: Ended, verb: str, good: Sequence[int], seconds: float) -> int:
        what = f"{self.tool.program} {verb}"
        if ended.why is Why.CANCELED:
            raise Stopped(self.context.cancel_reason or "cancelled")
        if ended.why is Why.TIMEOUT:
            raise Failed(f"{what} took longer than {seconds:.0f} seconds and was ended", timed_out=True)
        if ended.exit.oom_killed:
            raise Failed(f"{what} ran out of memory")
        if ended.code is None:
            raise Failed(f"{what} was ended by signal {ended.exit.signal}")
        if ended.code not in good:
            raise Failed(f"{what} failed with status {ended.code}")
        return ended.code


def uses_our_backend(data: bytes | None) -> bool:
    """Tell from the tool's own note whether it was initialized with the `http` backend and nothing of it named by the
    code: what the environment gives is not in the note.
    """
    try:
        noted: Any = json.loads(data or b"")
        config = noted["backend"].get("config") or {}
        return noted["backend"]["type"] == "http" and not any(config.get(name) for name in _PLACES)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _allowed(name: str) -> bool:
    return name not in _OURS and not name.startswith(_OURS_BEGIN) and bool(name) and "=" not in name
