"""The settings of the runtimes domain as one frozen record. Reads no environment and no file.

The composition root fills it from the server's settings; tests build it by hand.
"""

import enum
from dataclasses import dataclass, field

from runyard.runtimes.definition import ResourceLimits

DAY_SECONDS = 86_400


class AfterRestart(enum.StrEnum):
    """What becomes of running runtimes, whose processes died with the server, at the next start."""

    START = "start"
    """They are started again from their files: fresh processes, same status."""
    CRASH = "crash"
    """They end as `crashed` with the reason, until somebody starts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """Limits and defaults of commands."""

    default_timeout_secs: int = 3600
    """Used when the caller names none, or 0."""
    max_timeout_secs: int = DAY_SECONDS
    default_output_bytes: int = 4 << 20
    """Bytes kept of each stream for the caller when it names no cap."""
    max_output_bytes: int = 64 << 20
    max_stdin_bytes: int = 96 << 20
    per_runtime: int = 256
    """Commands running at once in one runtime."""
    total: int = 2048
    """Commands running at once on this server."""
    kill_grace_secs: float = 2.0
    """Between TERM and KILL of a command that ran too long."""
    quiet_secs: float = 0.25
    """How long to go on reading, after a command ended, while its background children hold its output open."""
    keep_alive_after_secs: float = 10.0
    """After this a waiting answer begins, and a blank is sent as often, so that clients do not time out."""
    heartbeat_secs: float = 15.0
    """Between the heartbeats of an exec stream. Clients give up after 30 s of silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimesOptions:
    """Limits and defaults of runtimes."""

    default_base: str = "host"
    limits: ResourceLimits = field(
        default_factory=lambda: ResourceLimits(vcpus=64, memory_mib=1 << 20, disk_gib=256)
    )
    pids: int | None = 1024
    """Processes and threads in one runtime; a fork bomb ends there."""
    max_runtimes: int = 10_000
    """Runtimes of one account."""
    settle_secs: float = 0.25
    """How long create, start and checkpoint wait for their end before they answer with the state on the way."""
    ready_secs: float = 60.0
    """How long an exec or file call is held while its runtime is being created."""
    boot_secs: float = 120.0
    """After this a sandbox that does not come up counts as failed."""
    boots_at_once: int = 8
    idle_scan_secs: float = 5.0
    after_restart: AfterRestart = AfterRestart.START
    hostname: str = "runyard"
    enforce_limits: bool = True
    """Unset only for an engine that, as the operator chose, isolates nothing."""
    exec: ExecOptions = field(default_factory=ExecOptions)
