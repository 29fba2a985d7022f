"""What can go wrong with runtimes, in words of the domain. No HTTP."""

from runyard.kernel.errors import (
    AlreadyExists,
    CommandFailed,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unavailable,
)


class RuntimeNotFound(NotFound):
    """There is no such runtime."""

    code = "runtime_not_found"

    def __init__(self, reference: str) -> None:
        """Name the runtime as the caller named it. Clients look for this very phrase."""
        super().__init__(f"runtime '{reference[:200]}' not found")


class AmbiguousName(FailedPrecondition):
    """Several runtimes have this name."""

    code = "ambiguous_name"


class NotRunning(FailedPrecondition):
    """The runtime is not running."""

    code = "runtime_not_running"


class TransitionRefused(FailedPrecondition):
    """The runtime is not in a status that allows this."""

    code = "transition_refused"


class RevisionConflict(Conflict):
    """The runtime was changed meanwhile."""

    code = "revision_conflict"

    def __init__(self, expected: int, actual: int) -> None:
        """Tell both revisions. Clients look for the first words of this sentence."""
        super().__init__(f"runtime revision conflict: expected {expected}, the runtime is at {actual}")


class IdempotencyMismatch(InvalidArgument):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_mismatch"


class CheckpointNotFound(NotFound):
    """There is no such checkpoint."""

    code = "checkpoint_not_found"

    def __init__(self, reference: str) -> None:
        """Name the checkpoint as the caller named it."""
        super().__init__(f"checkpoint '{reference[:200]}' not found")


class CheckpointNotReady(FailedPrecondition):
    """The checkpoint is not ready."""

    code = "checkpoint_not_ready"


class SecretNotFound(NotFound):
    """There is no such secret."""

    code = "secret_not_found"

    def __init__(self, reference: str) -> None:
        """Name the secret as the caller named it."""
        super().__init__(f"secret '{reference[:200]}' not found")


class SecretExists(AlreadyExists):
    """There is a secret with this name already."""

    code = "secret_exists"


class ReservedName(PermissionDenied):
    """Names that begin with runta- are reserved."""

    code = "reserved_name"


class BadWorkingDirectory(InvalidArgument):
    """The working directory does not exist in the runtime."""

    code = "bad_cwd"


class TooManyCommands(LimitExceeded):
    """Too many commands are running; try again when one has ended."""

    code = "too_many_commands"


class TooManyRuntimes(LimitExceeded):
    """The account has as many runtimes as this server allows."""

    code = "too_many_runtimes"


class RuntimeEnded(Unavailable):
    """The runtime ended while this was going on."""

    code = "runtime_ended"


class BaseKept(FailedPrecondition):
    """This base cannot be removed."""

    code = "base_kept"


class NoSpace(CommandFailed):
    """The runtime's disk is full."""

    code = "no_space"
