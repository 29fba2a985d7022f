"""What can go wrong with a state. No message carries content of a state: outputs are secrets."""

from runyard.infrastructure.state.model import Lock
from runyard.kernel.errors import Conflict, InvalidArgument, NotFound


class StateVersionNotFound(NotFound):
    """There is no such version of the state."""

    code = "state_version_not_found"


class NoState(NotFound):
    """The workspace has no state yet."""

    code = "no_state"


class BadState(InvalidArgument):
    """The document is not a Terraform state."""

    code = "bad_state"


class StaleState(Conflict):
    """The state does not follow from the current one."""

    code = "stale_state"


class StateLocked(Conflict):
    """The state is locked."""

    code = "state_locked"

    def __init__(self, message: str | None = None, *, holder: Lock | None = None) -> None:
        """Carry the lock that is held."""
        super().__init__(message)
        self.holder = holder


class LockLost(Conflict):
    """The lock is no longer held: it was released or taken over."""

    code = "lock_lost"
