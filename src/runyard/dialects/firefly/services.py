"""What the Firefly door needs of the house. The composition root hands over anything that has these."""

from typing import Protocol

from runyard.identity.service import IdentityService


class FireflyServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users and tokens."""
        ...
