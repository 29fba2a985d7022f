"""Errors of guardrails."""

from runyard.kernel.errors import FailedPrecondition, NotFound


class GuardrailNotFound(NotFound):
    """There is no such guardrail."""

    code = "guardrail_not_found"

    def __init__(self, rule_id: str = "") -> None:
        """Name what was asked for."""
        super().__init__(f"guardrail '{rule_id[:200]}' not found" if rule_id else None)


class VerdictNotFound(NotFound):
    """The plan of this run was not judged."""

    code = "verdict_not_found"


class NotAcknowledgeable(FailedPrecondition):
    """There is nothing here that could be acknowledged."""

    code = "not_acknowledgeable"
