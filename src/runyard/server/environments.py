"""The composition of task packages and environments: their services over the shared parts. A wing of the house."""

from dataclasses import dataclass

from runyard.environments.lifetimes import Lifetimes
from runyard.environments.packages.service import PackageService
from runyard.environments.usersecrets.service import UserSecretService
from runyard.identity.devices import DeviceService
from runyard.identity.keys import KeyService
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.server import options
from runyard.server.actions import Shared
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class EnvironmentHouse:
    """All services behind the Dreadnode door."""

    identity: IdentityService
    tenancy: TenancyService
    keys: KeyService
    devices: DeviceService
    packages: PackageService
    user_secrets: UserSecretService
    lifetimes: Lifetimes


def make_environments(settings: Settings, shared: Shared) -> EnvironmentHouse:
    """Put the services of environments together."""
    database = shared.database
    return EnvironmentHouse(
        identity=shared.identity,
        tenancy=TenancyService(database),
        keys=KeyService(database, shared.identity),
        devices=DeviceService(database),
        packages=PackageService(),
        user_secrets=UserSecretService(database, shared.vault),
        lifetimes=options.lifetimes(settings),
    )
