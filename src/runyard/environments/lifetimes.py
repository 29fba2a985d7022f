"""How long an environment may live. Owns the rule by which a wish is cut; pure."""

from dataclasses import dataclass

from runyard.kernel.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The operator's bounds, in seconds."""

    hard_max_secs: int = 8 * 3600
    """A request above this is refused."""
    max_secs: int = 8 * 3600
    """A request above this is cut to it."""
    default_secs: int = 3600
    """Used when a request names none."""

    def effective(self, requested_secs: int | None) -> int:
        """Return the seconds that an environment lives. Raises InvalidArgument above the hard maximum or below 1."""
        if requested_secs is None:
            return min(self.default_secs, self.max_secs, self.hard_max_secs)
        if not 1 <= requested_secs <= self.hard_max_secs:
            raise InvalidArgument(
                f"timeout_sec: must be 1 to {self.hard_max_secs}", loc=["body", "timeout_sec"]
            )
        return min(requested_secs, self.max_secs)
