"""The composition of task packages and environments: their services over the shared parts. A wing of the house."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runyard.environments.building.images import ImageBuilder
from runyard.environments.commands import EnvironmentCommands
from runyard.environments.keeper import EnvironmentKeeper, KeeperParts
from runyard.environments.lifetimes import Lifetimes
from runyard.environments.packages.registry import Registry
from runyard.environments.packages.service import PackageService
from runyard.environments.packages.trees import Trees
from runyard.environments.provisioning import Provisioner
from runyard.environments.service import EnvironmentParts, EnvironmentService
from runyard.environments.tasksets.service import TaskSetService
from runyard.environments.usage import UsageService
from runyard.environments.usersecrets.service import UserSecretService
from runyard.environments.verification import Verifier
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
    keeper: EnvironmentKeeper
    environments: EnvironmentService
    usage: UsageService
    task_sets: TaskSetService
    closing: Sequence[Callable[[], None]]
    """What gives back what the parts opened."""

    def close(self) -> None:
        """Give back what was opened."""
        for close in self.closing:
            close()


def make_environments(settings: Settings, shared: Shared) -> EnvironmentHouse:
    """Put the services of environments together."""
    database, folder = shared.database, settings.data_dir / "packages"
    tenancy, workers = TenancyService(database), Workers("packages", 4)
    blobs = BlobStore(folder / "blobs")
    trees = Trees(folder / "trees", options.package_limits(settings))
    registry = Registry(database, blobs, trees, workers, options.registry_limits(settings))
    packages = PackageService(database, tenancy, registry, blobs, trees, workers)
    user_secrets = UserSecretService(database, shared.vault)
    chosen = options.environment_options(settings)
    images = ImageBuilder(database, shared.engine, chosen)
    provisioner = Provisioner(shared.engine, images, chosen)
    keeper = EnvironmentKeeper(
        KeeperParts(
            database=database,
            executions=shared.executions,
            packages=packages,
            provisioner=provisioner,
            vault=shared.vault,
        ),
        chosen,
    )
    commands = EnvironmentCommands(shared.executions, chosen)
    verifier = Verifier(shared.engine, shared.executions, keeper, chosen)
    parts = EnvironmentParts(
        database=database,
        packages=packages,
        secrets=user_secrets,
        keeper=keeper,
        commands=commands,
        verifier=verifier,
        output=shared.output,
        vault=shared.vault,
        options=chosen,
    )
    return EnvironmentHouse(
        identity=shared.identity,
        tenancy=tenancy,
        keys=KeyService(database, shared.identity),
        devices=DeviceService(database),
        packages=packages,
        registry=registry,
        workers=workers,
        user_secrets=user_secrets,
        lifetimes=chosen.lifetimes,
        keeper=keeper,
        environments=EnvironmentService(parts),
        usage=UsageService(database),
        task_sets=TaskSetService(database, tenancy, packages),
        closing=(workers.close, commands.close, verifier.close, provisioner.close, images.close),
    )
