"""Partial changes of a runtime. Owns how a patch is merged into a definition; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument
from runyard.runtimes.definition import (
    Captures,
    EgressPolicy,
    IdlePolicy,
    IngressSpec,
    Resources,
    SecretUse,
    check_name,
)
from runyard.runtimes.errors import RevisionConflict, TransitionRefused
from runyard.runtimes.model import Amend, Runtime, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What to change; None leaves it as it is, a collection replaces the old one whole."""

    display_name: str | None = None
    memory_mib: int | None = None
    memory_limit_mib: int | None = None
    disk_gib: int | None = None
    egress: EgressPolicy | None = None
    idle: IdlePolicy | None = None
    ingress: tuple[IngressSpec, ...] | None = None
    environment: Mapping[str, str] | None = None
    secrets: tuple[SecretUse, ...] | None = None
    captures: Captures | None = None


def amended(runtime: Runtime, patch: Patch, actor: str, expected_revision: int | None) -> Amend:
    """Return the change that a patch means for a runtime. Raises InvalidArgument, RevisionConflict, TransitionRefused;
    maxima are checked by the caller, who knows them.
    """
    if expected_revision not in (None, runtime.revision):
        raise RevisionConflict(expected_revision or 0, runtime.revision)
    old = runtime.definition
    name = (
        runtime.display_name if patch.display_name is None else check_name(patch.display_name, "display_name")
    )
    definition = replace(
        old,
        resources=_resources(runtime, patch),
        egress=patch.egress or old.egress,
        idle=patch.idle or old.idle,
        ingress=old.ingress if patch.ingress is None else patch.ingress,
        environment=old.environment if patch.environment is None else patch.environment,
        secrets=old.secrets if patch.secrets is None else patch.secrets,
        captures=patch.captures or old.captures,
    )
    return Amend(
        definition=definition,
        display_name=name,
        actor=actor,
        at=utc_now(),
        expected_revision=expected_revision,
    )


def _resources(runtime: Runtime, patch: Patch) -> Resources:
    old = runtime.definition.resources
    memory = patch.memory_mib if patch.memory_mib is not None else old.memory_mib
    if patch.memory_limit_mib is not None:
        limit = patch.memory_limit_mib
        if patch.memory_mib is None:
            memory = min(memory, limit)
    else:
        # Who asks for other memory and names no ceiling means the ceiling too.
        limit = old.memory_limit_mib if patch.memory_mib is None else memory
    if patch.disk_gib is not None and patch.disk_gib != old.disk_gib:
        if runtime.status is not Status.SHUTDOWN:
            raise TransitionRefused(
                f"runtime '{runtime.id}' must be shut down to change its disk (status: {runtime.status})"
            )
        if old.disk_gib is not None and patch.disk_gib < old.disk_gib:
            raise InvalidArgument("resources.requests.disk_gib may only grow")
    return replace(old, memory_mib=memory, memory_limit_mib=limit, disk_gib=patch.disk_gib or old.disk_gib)
