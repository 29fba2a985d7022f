"""Answer types of the dialect, and how domain values become them. One runtime answer per generation."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from runyard.dialects.runta.wire import DEFAULT_MEMORY_MIB, DISK_MAX_GIB, DISK_MIN_GIB
from runyard.identity.model import Permission, Principal
from runyard.kernel.clock import rfc3339
from runyard.runtimes.definition import Definition, EgressMode, EgressPolicy, IdleMode, IdlePolicy
from runyard.runtimes.model import Checkpoint, Runtime, Secret

T = TypeVar("T")

MASK = "********"
"""All that is ever shown of a secret's value."""


class Enveloped(msgspec.Struct, Generic[T]):
    """The envelope of every success."""

    data: T


class Cursors(msgspec.Struct):
    """Paging of v2."""

    next_cursor: str | None
    has_more: bool


class BothPagings(Cursors, kw_only=True):
    """Paging of v1: offset and cursor at once, so that every generation of client finds its own."""

    limit: int
    offset: int
    total: int
    next_offset: int | None


class ListedV1(msgspec.Struct, Generic[T]):
    """A page of v1."""

    data: T
    pagination: BothPagings


class Listed(msgspec.Struct, Generic[T]):
    """A page of v2."""

    data: T
    pagination: Cursors


class Requests(msgspec.Struct):
    """What the runtime was given."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class Ceiling(msgspec.Struct):
    """What it may use at most."""

    memory_mib: int


class Current(msgspec.Struct):
    """What it has now."""

    memory_mib: int
    observed_disk_gib: int


class ResourcesOut(msgspec.Struct):
    """Resources of a runtime."""

    current: Current
    limits: Ceiling
    requests: Requests


class Ingress(msgspec.Struct):
    """A port that was asked to be published."""

    protocol: str
    runtime_port: int


class EgressFour(msgspec.Struct):
    """The egress policy in all spellings of v1."""

    enabled: bool
    mode: str
    allowed_hosts: Sequence[str]
    denied_hosts: Sequence[str]


class DenylistOut(msgspec.Struct, tag_field="mode", tag="denylist"):
    """Everything but these hosts."""

    denied_hosts: Sequence[str]


class AllowlistOut(msgspec.Struct, tag_field="mode", tag="allowlist"):
    """Nothing but these hosts."""

    allowed_hosts: Sequence[str]


class Idle(msgspec.Struct, omit_defaults=True):
    """When it is suspended."""

    mode: str
    suspend_after_secs: int | None = None


class Savings(msgspec.Struct):
    """Kept and shown, without effect."""

    json_array_enabled: bool
    log_enabled: bool
    search_results_enabled: bool
    git_diff_enabled: bool


class VncConnection(msgspec.Struct):
    """Required by the contract; there is no VNC here."""

    hostname: str = ""
    port: int = 0
    username: str = "runta"
    security_type: str = "X509Plain"


class VariableOut(msgspec.Struct):
    """An environment variable with a secret in it."""

    name: str
    value_template: str


class FileOut(msgspec.Struct):
    """A file with a secret in it."""

    path: str
    value_template: str


class SecretUseOut(msgspec.Struct):
    """Where a secret goes; never its value."""

    secret_id: str
    environment: list[VariableOut]
    egress_rules: list[str]
    files: list[FileOut]


class RuntimeFields(msgspec.Struct, kw_only=True):
    """A runtime; v1 and v2 differ in `egress_policy` alone, so that one object serves every client."""

    id: str
    display_name: str
    status: str
    desired_status: str
    degraded: bool = False
    created_at: str
    updated_at: str
    image_id: str
    revision: int
    resources: ResourcesOut
    idle_policy: Idle
    ingress_specs: list[Ingress]
    ssh_enabled: bool = False
    vnc_enabled: bool = False
    vnc_ready: bool = False
    vnc_connection: VncConnection
    owner_user_id: str
    can_manage: bool
    llm_tool_io_capture_enabled: bool
    llm_session_content_capture_enabled: bool
    llm_token_saving_policy: Savings
    secret_configuration: list[SecretUseOut]
    environment_variables: Mapping[str, str]
    tls_passthrough_hosts: list[str] = []
    error_code: str | None = None
    error_message: str | None = None
    vnc_error_code: str | None = None


class RuntimeV1(RuntimeFields, kw_only=True):
    """A runtime as v1 shows it."""

    egress_policy: EgressFour


class RuntimeV2(RuntimeFields, kw_only=True):
    """A runtime as v2 shows it."""

    egress_policy: DenylistOut | AllowlistOut


class ExecOut(msgspec.Struct):
    """The end of a buffered command."""

    duration_ms: int
    exit_code: int
    stderr: str
    stderr_truncated: bool
    stdout: str
    stdout_truncated: bool


class SourceRuntime(msgspec.Struct):
    """What a checkpoint was made of; no id when it is gone."""

    id: str | None
    name: str


class CheckpointOut(msgspec.Struct):
    """A checkpoint."""

    id: str
    display_name: str
    created_at: str
    state: str
    kind: str
    resources: ResourcesOut
    safe_error_code: str | None
    source_runtime: SourceRuntime


class SecretOut(msgspec.Struct):
    """A secret without its value."""

    id: str
    display_name: str
    cache_ttl_secs: int
    value_preview: str = MASK


class DiskRange(msgspec.Struct):
    """Sizes of an image's disk."""

    minimum_gib: int = DISK_MIN_GIB
    maximum_gib: int = DISK_MAX_GIB
    default_gib: int = DISK_MIN_GIB
    step_gib: int = 1


class Recommended(msgspec.Struct):
    """Resources that suit an image."""

    vcpus: int = 1
    memory_mib: int = DEFAULT_MEMORY_MIB


class ImageOut(msgspec.Struct, kw_only=True):
    """A base that runtimes can be made from."""

    id: str
    name: str
    description: str
    icon_key: str = "debian"
    architectures: list[str]
    disk: DiskRange
    recommended_resources: Recommended
    is_default: bool
    is_custom: bool
    exposed_ports: list[int] = []


def _resources(definition: Definition) -> ResourcesOut:
    given = definition.resources
    return ResourcesOut(
        current=Current(given.memory_mib, 0),
        limits=Ceiling(given.memory_limit_mib),
        requests=Requests(given.vcpus, given.memory_mib, given.disk_gib or DISK_MIN_GIB),
    )


def _egress_v1(policy: EgressPolicy) -> EgressFour:
    restricted = policy.mode is EgressMode.ALLOWLIST
    return EgressFour(restricted, policy.mode, policy.allowed_hosts, policy.denied_hosts)


def _egress_v2(policy: EgressPolicy) -> DenylistOut | AllowlistOut:
    if policy.mode is EgressMode.ALLOWLIST:
        return AllowlistOut(policy.allowed_hosts)
    return DenylistOut(policy.denied_hosts)


def _idle(policy: IdlePolicy) -> Idle:
    return Idle(policy.mode, None if policy.mode is IdleMode.DISABLED else policy.suspend_after_secs)


def _secret_uses(definition: Definition) -> list[SecretUseOut]:
    return [
        SecretUseOut(
            use.secret_id,
            [VariableOut(item.name, item.value_template) for item in use.environment],
            [],
            [FileOut(item.path, item.value_template) for item in use.files],
        )
        for use in definition.secrets
    ]


def runtime_v1(runtime: Runtime, caller: Principal) -> RuntimeV1:
    """Return a runtime as v1 shows it."""
    return RuntimeV1(egress_policy=_egress_v1(runtime.definition.egress), **_fields(runtime, caller))


def runtime_v2(runtime: Runtime, caller: Principal) -> RuntimeV2:
    """Return a runtime as v2 shows it."""
    return RuntimeV2(egress_policy=_egress_v2(runtime.definition.egress), **_fields(runtime, caller))


def _fields(runtime: Runtime, caller: Principal) -> dict[str, Any]:
    definition, captures = runtime.definition, runtime.definition.captures
    return {
        "id": runtime.id,
        "display_name": runtime.display_name,
        "status": runtime.status,
        "desired_status": runtime.desired_status,
        "created_at": rfc3339(runtime.created_at),
        "updated_at": rfc3339(runtime.updated_at),
        "image_id": definition.base,
        "revision": runtime.revision,
        "resources": _resources(definition),
        "idle_policy": _idle(definition.idle),
        "ingress_specs": [Ingress(spec.protocol, spec.runtime_port) for spec in definition.ingress],
        "vnc_connection": VncConnection(),
        "owner_user_id": runtime.owner_user_id,
        "can_manage": caller.may(Permission.RUNTIMES_WRITE),
        "llm_tool_io_capture_enabled": captures.tool_io,
        "llm_session_content_capture_enabled": captures.session_content,
        "llm_token_saving_policy": Savings(
            captures.json_array, captures.log, captures.search_results, captures.git_diff
        ),
        "secret_configuration": _secret_uses(definition),
        "environment_variables": definition.environment,
        "error_code": runtime.error_code,
        "error_message": runtime.error_message,
    }


def checkpoint_view(checkpoint: Checkpoint) -> CheckpointOut:
    """Return a checkpoint in the dialect's words."""
    return CheckpointOut(
        id=checkpoint.id,
        display_name=checkpoint.display_name,
        created_at=rfc3339(checkpoint.created_at),
        state=checkpoint.state,
        kind=checkpoint.kind,
        resources=_resources(checkpoint.definition),
        safe_error_code=checkpoint.error_code,
        source_runtime=SourceRuntime(checkpoint.source_runtime_id, checkpoint.source_runtime_name),
    )


def secret_view(secret: Secret) -> SecretOut:
    """Return a secret in the dialect's words."""
    return SecretOut(secret.id, secret.display_name, secret.cache_ttl_secs)


def image_view(base: str, architecture: str, *, is_default: bool) -> ImageOut:
    """Return a base as the dialect's image."""
    described = "The files of the host's own system, read-only, below the runtime's own"
    return ImageOut(
        id=base,
        name=base,
        description=described if base == "host" else f"Base {base}",
        architectures=[architecture],
        disk=DiskRange(),
        recommended_resources=Recommended(),
        is_default=is_default,
        is_custom=base != "host",
    )
