"""From the settings tree to the small records that the domains take. Owns the mapping; decides nothing else."""

from datetime import timedelta
from pathlib import Path

from runyard.actions.runners.boxes import BoxOptions
from runyard.environments.lifetimes import Lifetimes
from runyard.environments.options import EnvironmentOptions
from runyard.environments.packages.registry import RegistryLimits
from runyard.executions.output.log import OutputOptions
from runyard.executions.service import ExecutionOptions
from runyard.infrastructure.provisioner.box import BoxOptions as RunBoxOptions
from runyard.infrastructure.provisioner.gitlimits import GitLimits
from runyard.kernel.tarballs import TarballLimits
from runyard.runtimes.definition import ResourceLimits
from runyard.runtimes.isolation.engine import Limits, Network
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.options import AfterRestart, ExecOptions, RuntimesOptions
from runyard.settings import Settings


def isolation_options(settings: Settings) -> IsolationOptions:
    """Return what the isolation engine needs."""
    chosen = settings.runtimes
    return IsolationOptions(
        data_dir=settings.data_dir / "isolation",
        uid_base=chosen.uid_base,
        warm_pool_size=chosen.warm_pool_size,
        warm_shells=chosen.warm_shells,
        default_base=chosen.default_base,
        host_base_hidden=chosen.host_base_hidden,
        directory_bases=chosen.directory_bases,
        disk_pool_bytes=chosen.disk_pool_bytes,
        default_disk_bytes=chosen.default_disk_bytes,
        network_cidr=chosen.network_cidr,
        block_private=chosen.block_private,
        nameservers=chosen.nameservers,
    )


def runtimes_options(settings: Settings) -> RuntimesOptions:
    """Return what the runtimes domain needs."""
    chosen, command = settings.runtimes, settings.exec
    return RuntimesOptions(
        default_base=chosen.default_base,
        limits=ResourceLimits(
            vcpus=chosen.max_vcpus, memory_mib=chosen.max_memory_mib, disk_gib=chosen.max_disk_gib
        ),
        pids=chosen.pids,
        max_runtimes=settings.limits.runtimes_per_account,
        idle_scan_secs=chosen.idle_scan_secs,
        after_restart=AfterRestart(chosen.after_restart),
        enforce_limits=chosen.engine != "process",
        exec=ExecOptions(
            default_timeout_secs=command.default_timeout_secs,
            max_timeout_secs=command.max_timeout_secs,
            default_output_bytes=command.default_output_bytes,
            max_output_bytes=command.max_output_bytes,
            per_runtime=settings.limits.execs_per_runtime,
            total=settings.limits.execs_total,
            kill_grace_secs=command.kill_grace_secs,
            quiet_secs=command.quiet_secs,
        ),
    )


def box_options(settings: Settings) -> BoxOptions:
    """Return how sandboxes of actions are made."""
    chosen = settings.actions
    bounded = settings.runtimes.engine != "process"
    limits = Limits(memory_bytes=chosen.memory_mib << 20, pids=chosen.pids) if bounded else Limits()
    return BoxOptions(
        base=settings.runtimes.default_base,
        network=Network.OPEN if chosen.network == "open" else Network.NONE,
        limits=limits,
        kill_grace_secs=settings.exec.kill_grace_secs,
        ready=chosen.ready if bounded else 0,
    )


def tools_folder(settings: Settings) -> Path:
    """Return where the operator's tools are by version."""
    return settings.infrastructure.tools_folder or settings.data_dir / "tools"


def approval_window(settings: Settings) -> timedelta:
    """Return how long a plan waits for a person."""
    return timedelta(seconds=settings.infrastructure.approval_window_secs)


def run_box_options(settings: Settings) -> RunBoxOptions:
    """Return how sandboxes of plans and applies are made."""
    chosen = settings.infrastructure
    bounded = settings.runtimes.engine != "process"
    limits = Limits(memory_bytes=chosen.memory_mib << 20, pids=chosen.pids) if bounded else Limits()
    return RunBoxOptions(
        base=settings.runtimes.default_base,
        network=Network.OPEN if chosen.network == "open" else Network.NONE,
        limits=limits,
        interrupt_grace_secs=chosen.interrupt_grace_secs,
    )


def lifetimes(settings: Settings) -> Lifetimes:
    """Return how long environments may live."""
    chosen = settings.environments
    return Lifetimes(
        hard_max_secs=chosen.hard_max_lifetime_secs,
        max_secs=chosen.max_lifetime_secs,
        default_secs=chosen.default_lifetime_secs,
    )


def package_limits(settings: Settings) -> TarballLimits:
    """Return what a task package may hold when unpacked."""
    chosen = settings.environments
    return TarballLimits(bytes=chosen.package_unpacked_bytes, entries=chosen.package_files)


def registry_limits(settings: Settings) -> RegistryLimits:
    """Return what task packages may take when packed."""
    chosen = settings.environments
    return RegistryLimits(package_bytes=chosen.package_bytes, account_bytes=chosen.account_package_bytes)


def git_limits(settings: Settings) -> GitLimits:
    """Return what a repository may take of this host: a few commits, each as large as the code of a run may be."""
    most = settings.infrastructure.archive_bytes
    return GitLimits(checkout_bytes=most, fetched_bytes=4 * most)


def open_box_options(settings: Settings) -> BoxOptions:
    """Return how the places of packs are made that are not isolated: nothing holds them."""
    return BoxOptions(kill_grace_secs=settings.exec.kill_grace_secs)


def environment_options(settings: Settings) -> EnvironmentOptions:
    """Return the limits and defaults of environments."""
    chosen = settings.environments
    bounded = settings.runtimes.engine != "process"
    memory = chosen.memory_mib << 20
    limits = Limits(memory_bytes=memory, pids=chosen.pids, cpus=chosen.cpus) if bounded else Limits()
    return EnvironmentOptions(
        engine=chosen.engine,
        folder=settings.data_dir / "environments",
        base=settings.runtimes.default_base,
        image_map=chosen.image_map,
        registries=chosen.registries,
        network=_network(chosen.network),
        sandbox_addresses=settings.runtimes.network_cidr,
        build_network=_network(chosen.build_network),
        limits=limits,
        lifetimes=lifetimes(settings),
        max_living=chosen.max_living,
        provisions_at_once=chosen.provisions_at_once,
        provision_secs=chosen.provision_timeout_secs,
        execs_at_once=chosen.executes_at_once,
        execs_waiting=chosen.executes_waiting,
        output_bytes=chosen.output_bytes,
        grace_secs=settings.exec.kill_grace_secs,
        outputs_bytes=chosen.outputs_bytes,
        translate_verification=chosen.translate_verification,
        images_kept=chosen.images_kept,
        service_host=chosen.service_host,
    )


def _network(name: str) -> Network:
    return Network.OPEN if name == "open" else Network.NONE


def output_options(settings: Settings) -> OutputOptions:
    """Return the limits of the output logs."""
    chosen = settings.output
    return OutputOptions(
        limit_bytes=chosen.log_bytes,
        retention_age=timedelta(days=chosen.retention_days) if chosen.retention_days else None,
        retention_bytes=chosen.retention_bytes or None,
    )


def execution_options(settings: Settings) -> ExecutionOptions:
    """Return the limits of the embedded worker: a slot for every command that may run at once."""
    return ExecutionOptions(slots=settings.limits.execs_total)
