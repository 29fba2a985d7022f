"""What the Runta door needs of the house. The composition root hands over anything that has these."""

from typing import Protocol

from runyard.identity.service import IdentityService
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.commands import CommandService
from runyard.runtimes.files import FileService
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.service import RuntimeService


class RuntaServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users, projects and tokens."""
        ...

    @property
    def runtimes(self) -> RuntimeService:
        """Runtimes."""
        ...

    @property
    def commands(self) -> CommandService:
        """Commands in runtimes."""
        ...

    @property
    def files(self) -> FileService:
        """Files of runtimes."""
        ...

    @property
    def checkpoints(self) -> CheckpointService:
        """Checkpoints."""
        ...

    @property
    def secrets(self) -> SecretService:
        """Stored secrets."""
        ...
