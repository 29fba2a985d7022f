"""What the Dreadnode door needs of the house. The composition root hands over anything that has these."""

from typing import Protocol

from runyard.environments.lifetimes import Lifetimes
from runyard.environments.packages.registry import Registry
from runyard.environments.packages.service import PackageService
from runyard.environments.service import EnvironmentService
from runyard.environments.tasksets.service import TaskSetService
from runyard.environments.usage import UsageService
from runyard.environments.usersecrets.service import UserSecretService
from runyard.identity.devices import DeviceService
from runyard.identity.keys import KeyService
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService


class DreadnodeServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users and tokens."""
        ...

    @property
    def tenancy(self) -> TenancyService:
        """Accounts and their trees."""
        ...

    @property
    def keys(self) -> KeyService:
        """API keys of users."""
        ...

    @property
    def devices(self) -> DeviceService:
        """Log-ins of devices."""
        ...

    @property
    def packages(self) -> PackageService:
        """Task packages."""
        ...

    @property
    def registry(self) -> Registry:
        """Blobs and manifests."""
        ...

    @property
    def user_secrets(self) -> UserSecretService:
        """Secrets of users."""
        ...

    @property
    def environments(self) -> EnvironmentService:
        """Environments."""
        ...

    @property
    def lifetimes(self) -> Lifetimes:
        """How long environments may live."""
        ...

    @property
    def usage(self) -> UsageService:
        """How long environments lived."""
        ...

    @property
    def task_sets(self) -> TaskSetService:
        """Lists of tasks."""
        ...
