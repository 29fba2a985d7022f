"""The engine of a host that cannot isolate. Owns the refusal: the server serves the ledger, and says why nothing runs.

It never pretends: what it is asked for is refused with the reason that the real engine gave when it failed to start.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from runyard.runtimes.isolation.engine import (
    BaseFacts,
    CannotEnforce,
    Capability,
    PrivateNetwork,
    Sandbox,
    SandboxSpec,
)


class AbsentEngine:
    """Refuses everything with one reason."""

    def __init__(self, name: str, reason: str) -> None:
        """Stand in for the engine of this name, which could not start for this reason."""
        self.name = name
        self._reason = reason.rstrip(".")

    def capabilities(self) -> Sequence[Capability]:
        """Say that nothing is isolated here, and so nothing runs."""
        fix = "run `runyard doctor` for what is missing; runtimes need root and Linux 5.12 or later"
        return [Capability(name="process isolation", enforced=False, how=f"none: {self._reason}", fix=fix)]

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def create(self, spec: SandboxSpec) -> Sandbox:  # noqa: ARG002  refused whatever it asks
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    async def make_network(self, name: str) -> PrivateNetwork:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    def layers(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    async def delete_layer(self, sandbox_id: str) -> None:  # noqa: ARG002
        """Refuse: files that this host cannot reach are not gone. Raises CannotEnforce."""
        self._refuse()

    async def capture(self, sandbox_id: str, checkpoint_id: str) -> int:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    async def delete_checkpoint(self, checkpoint_id: str) -> None:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    def captured(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    def bases(self) -> Sequence[BaseFacts]:
        """Refuse, so that a create hears the reason instead of an unknown base. Raises CannotEnforce."""
        self._refuse()

    async def import_image(self, path: Path, name: str) -> BaseFacts:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    async def remove_image(self, name: str) -> None:  # noqa: ARG002
        """Refuse. Raises CannotEnforce."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise CannotEnforce(f"this host cannot isolate runtimes: {self._reason}")
