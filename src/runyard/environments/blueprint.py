"""From a task package to all that its environments need. Owns where commands run, what they may not see, and egress."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from runyard.environments.building.compose import compose_file, read_compose
from runyard.environments.building.model import Blueprint, ServicePlan
from runyard.environments.errors import ProvisionFailed
from runyard.environments.packages.model import KeptTask, TaskManifest
from runyard.runtimes.isolation.engine import Network

MAIN: Final = "main"
"""A service of this name is the place of commands."""


def blueprint_of(package: KeptTask, variables: Mapping[str, str], network: Network) -> Blueprint:
    """Read what a package says of its environment; `variables` are put into the compose file, `network` counts where the
    task says nothing. Blocking. Raises BadCompose, ProvisionFailed.
    """
    manifest = package.manifest
    way_out, egress = _way_out(manifest, network)
    path = compose_file(package.root)
    if path is None:
        if manifest.ports:
            raise ProvisionFailed("the task declares ports but has no compose file")
        return Blueprint(network=way_out, egress=egress, hidden=_hidden(package, {}))
    services = read_compose(path, package.root, variables)
    for name in manifest.ports:
        if name not in services:
            raise ProvisionFailed(f"the task exposes ports of {name}, which is no service of {path.name}")
    return Blueprint(
        services={name: replace(plan) for name, plan in services.items()},
        exposed=manifest.ports,
        network=way_out,
        egress=egress,
        main=MAIN if MAIN in services else None,
        hidden=_hidden(package, services),
    )


def _way_out(manifest: TaskManifest, default: Network) -> tuple[Network, Sequence[str] | None]:
    """Return how the environment reaches the outside: what a task declares is enforced, and only narrows the default."""
    if manifest.egress is None:
        return default, None
    return Network.NONE, manifest.egress if manifest.egress and default is Network.OPEN else None


def _hidden(package: KeptTask, services: Mapping[str, ServicePlan]) -> tuple[Path, ...]:
    """Return what of a package would give the answer away: the manifest with its flag, the solution, and all that
    services are built of. Scripts of the task stay, even where a whole package is a build context.
    """
    root, manifest = package.root, package.manifest
    hidden = [root / "task.yaml"]
    if manifest.solution:
        hidden.append(root / manifest.solution)
    hidden += [path for path in (compose_file(root),) if path is not None]
    contexts = [plan.build.context for plan in services.values() if plan.build is not None]
    for context in contexts:
        hidden += [context] if context.resolve() != root.resolve() else _all_but_scripts(package)
    listed = manifest.document.get("hidden")
    hidden += [root / str(name) for name in listed] if isinstance(listed, list) else []
    hidden += [carried.source for plan in services.values() for carried in plan.carried]
    return tuple(hidden)


def _all_but_scripts(package: KeptTask) -> list[Path]:
    manifest = package.manifest
    scripts = [use.script for use in (manifest.provision, manifest.teardown) if use is not None]
    if manifest.verification.script is not None:
        scripts.append(manifest.verification.script)
    kept = {(package.root / script).relative_to(package.root).parts[0] for script in scripts}
    return [path for path in package.root.iterdir() if path.name not in kept]
