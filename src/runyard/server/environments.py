"""The composition of task packages and environments: their services over the shared parts. A wing of the house."""

from dataclasses import dataclass

from runyard.environments.lifetimes import Lifetimes
from runyard.environments.packages.registry import Registry
from runyard.environments.packages.service import PackageService
from runyard.environments.packages.trees import Trees
from runyard.environments.usersecrets.service import UserSecretService
from runyard.identity.devices import DeviceService
from runyard.identity.keys import KeyService
from runyard.identity.service import IdentityService
from runyard.identity.tenancy import TenancyService
from runyard.kernel.blobs import BlobStore
from runyard.runtimes.isolation.workers import Workers
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
    registry: Registry
    workers: Workers
    user_secrets: UserSecretService
    lifetimes: Lifetimes


def make_environments(settings: Settings, shared: Shared) -> EnvironmentHouse:
    """Put the services of environments together."""
    database, folder = shared.database, settings.data_dir / "packages"
    tenancy, workers = TenancyService(database), Workers("packages", 4)
    blobs = BlobStore(folder / "blobs")
    trees = Trees(folder / "trees", options.package_limits(settings))
    registry = Registry(database, blobs, trees, workers, options.registry_limits(settings))
    return EnvironmentHouse(
        identity=shared.identity,
        tenancy=tenancy,
        keys=KeyService(database, shared.identity),
        devices=DeviceService(database),
        packages=PackageService(database, tenancy, registry, blobs, trees, workers),
        registry=registry,
        workers=workers,
        user_secrets=UserSecretService(database, shared.vault),
        lifetimes=options.lifetimes(settings),
    )
