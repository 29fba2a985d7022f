"""Request types of the dialect and what they mean in words of the domain. Closed where the contract says so.

A `null` for an optional field is taken as its absence throughout: old clients send both.
"""

from typing import Any, Literal

import msgspec

from runyard.kernel.errors import InvalidArgument, Unimplemented
from runyard.runtimes.amendment import Patch
from runyard.runtimes.definition import (
    Captures,
    Definition,
    EgressMode,
    EgressPolicy,
    IdleMode,
    IdlePolicy,
    IngressSpec,
    Resources,
    SecretFile,
    SecretUse,
    SecretVariable,
)
from runyard.runtimes.service import NewRuntime

DISK_MIN_GIB = 32
DISK_MAX_GIB = 256
DEFAULT_MEMORY_MIB = 1024


class Closed(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A body in which an unknown field is an error."""


class ResourceRequests(Closed):
    """What the runtime is given."""

    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None


class ResourceCeiling(Closed):
    """What the runtime may use at most."""

    memory_mib: int | None = None


class ResourcesIn(Closed):
    """Resources of a create."""

    requests: ResourceRequests | None = None
    limits: ResourceCeiling | None = None

    def domain(self) -> Resources:
        """Fill in the defaults. Raises InvalidArgument."""
        requests = self.requests or ResourceRequests()
        ceiling = self.limits.memory_mib if self.limits else None
        memory = requests.memory_mib
        if memory is None:
            memory = DEFAULT_MEMORY_MIB if ceiling is None else min(DEFAULT_MEMORY_MIB, ceiling)
        _check_disk(requests.disk_gib)
        return Resources(
            vcpus=1 if requests.vcpus is None else requests.vcpus,
            memory_mib=memory,
            memory_limit_mib=memory if ceiling is None else ceiling,
            disk_gib=requests.disk_gib,
        )


class PatchRequests(Closed):
    """Resources that may change: never the processors."""

    memory_mib: int | None = None
    disk_gib: int | None = None


class PatchResources(Closed):
    """Resources of a patch."""

    requests: PatchRequests | None = None
    limits: ResourceCeiling | None = None


class EgressV1(Closed):
    """All spellings of v1: `enabled` with hosts, and later `mode` with two lists."""

    enabled: bool | None = None
    mode: Literal["denylist", "allowlist"] | None = None
    allowed_hosts: list[str] | None = None
    denied_hosts: list[str] | None = None
    tls_passthrough_hosts: list[str] | None = None

    def domain(self) -> EgressPolicy:
        """Read `enabled: true` as: only the listed hosts, none when the list is empty."""
        _refuse(self.tls_passthrough_hosts, "tls_passthrough_hosts")
        mode = self.mode or ("allowlist" if self.enabled else "denylist")
        return EgressPolicy(
            mode=EgressMode(mode),
            allowed_hosts=tuple(self.allowed_hosts or ()),
            denied_hosts=tuple(self.denied_hosts or ()),
        )


class Denylist(Closed, tag_field="mode", tag="denylist"):
    """Everything but these hosts."""

    denied_hosts: list[str] = []

    def domain(self) -> EgressPolicy:
        """Return the policy."""
        return EgressPolicy(mode=EgressMode.DENYLIST, denied_hosts=tuple(self.denied_hosts))


class Allowlist(Closed, tag_field="mode", tag="allowlist"):
    """Nothing but these hosts."""

    allowed_hosts: list[str] = []

    def domain(self) -> EgressPolicy:
        """Return the policy."""
        return EgressPolicy(mode=EgressMode.ALLOWLIST, allowed_hosts=tuple(self.allowed_hosts))


class IdleIn(Closed):
    """When to suspend."""

    mode: Literal["disabled", "suspend_only", "suspend_and_wakeup"]
    suspend_after_secs: int | None = None

    def domain(self) -> IdlePolicy:
        """Return the policy; seconds of a disabled one are dropped."""
        mode = IdleMode(self.mode)
        return IdlePolicy(
            mode=mode, suspend_after_secs=None if mode is IdleMode.DISABLED else self.suspend_after_secs
        )


class IngressIn(msgspec.Struct, kw_only=True):
    """A port to publish; open to unknown fields."""

    protocol: str
    runtime_port: int


class VariableIn(Closed):
    """An environment variable with a secret in it."""

    name: str
    value_template: str


class FileIn(Closed):
    """A file with a secret in it."""

    path: str
    value_template: str


class SecretUseIn(Closed):
    """Where a secret goes."""

    secret_id: str
    environment: list[VariableIn] | None = None
    egress_rules: list[Any] | None = None
    files: list[FileIn] | None = None

    def domain(self) -> SecretUse:
        """Return the use. Raises Unimplemented for injection on the network path."""
        _refuse(self.egress_rules, "secret_configuration[].egress_rules")
        environment = tuple(
            SecretVariable(name=item.name, value_template=item.value_template)
            for item in self.environment or ()
        )
        files = tuple(
            SecretFile(path=item.path, value_template=item.value_template) for item in self.files or ()
        )
        return SecretUse(secret_id=self.secret_id, environment=environment, files=files)


class ImageIn(Closed):
    """Which base to start from."""

    id: str
    model_provider_protocol: str | None = None
    model_provider_base_url: str | None = None
    model_provider_model: str | None = None
    runtime_sign_in: bool = False


class SavingsIn(Closed):
    """Switches of a feature of the vendor, kept and shown."""

    json_array_enabled: bool = False
    log_enabled: bool = False
    search_results_enabled: bool = False
    git_diff_enabled: bool = False


class Shared(Closed):
    """What v1 and v2 creates have in common."""

    name: str | None = None
    checkpoint_id: str | None = None
    resources: ResourcesIn | None = None
    idle_policy: IdleIn | None = None
    ingress_specs: list[IngressIn] | None = None
    environment_variables: dict[str, str] | None = None
    secret_configuration: list[SecretUseIn] | None = None
    image: ImageIn | None = None
    ssh_key_ids: list[str] | None = None
    repositories: list[Any] | None = None
    vnc_enabled: bool | None = None
    tls_passthrough_hosts: list[str] | None = None
    llm_tool_io_capture_enabled: bool | None = None
    llm_session_content_capture_enabled: bool | None = None
    llm_token_saving_policy: SavingsIn | None = None

    def definition(self, base: str, egress: EgressPolicy, idle: IdlePolicy) -> Definition:
        """Return what the fields mean. Raises Unimplemented for what this server does not have."""
        _refuse(self.ssh_key_ids, "ssh_key_ids")
        _refuse(self.repositories, "repositories")
        _refuse(self.vnc_enabled, "vnc_enabled")
        _refuse(self.tls_passthrough_hosts, "tls_passthrough_hosts")
        return Definition(
            base=self.image.id if self.image else base,
            resources=(self.resources or ResourcesIn()).domain(),
            egress=egress,
            idle=idle,
            ingress=_ingress(self.ingress_specs) or (),
            environment=self.environment_variables or {},
            secrets=_secrets(self.secret_configuration) or (),
            captures=_captures(self, Captures()),
        )


class CreateV1(Shared):
    """POST /v1/runtimes, the union of what SDK 0.1.0 to 0.1.21 send."""

    egress_policy: EgressV1 | None = None
    idle_suspend_after_secs: int | None = None
    runtime_agent: Any = None
    agent: Any = None
    ssh_enabled: bool | None = None

    def domain(self, base: str) -> NewRuntime:
        """Return what to make. On a restore `resources` is ignored, as the SDK sends its defaults there."""
        _refuse(self.runtime_agent or self.agent, "runtime_agent")
        _refuse(self.ssh_enabled, "ssh_enabled")
        idle = self.idle_policy.domain() if self.idle_policy else IdlePolicy()
        if self.idle_policy is None and self.idle_suspend_after_secs is not None:
            idle = IdlePolicy(
                mode=IdleMode.SUSPEND_AND_WAKEUP, suspend_after_secs=self.idle_suspend_after_secs
            )
        egress = (self.egress_policy or EgressV1()).domain()
        return NewRuntime(
            name=self.name, checkpoint=self.checkpoint_id, definition=self.definition(base, egress, idle)
        )


class CreateV2(Shared):
    """POST /v2/runtimes: a fresh one, or with `checkpoint_id` a restore."""

    egress_policy: Denylist | Allowlist | None = None

    def domain(self, base: str) -> NewRuntime:
        """Return what to make. Raises InvalidArgument when a restore names what comes from the checkpoint."""
        resources = None
        if self.checkpoint_id is not None:
            if self.image is not None or self.environment_variables:
                raise InvalidArgument("image and environment_variables come from the checkpoint")
            resources = self.resources.domain() if self.resources else None
        idle = self.idle_policy.domain() if self.idle_policy else IdlePolicy()
        egress = (self.egress_policy or Denylist()).domain()
        return NewRuntime(
            name=self.name,
            checkpoint=self.checkpoint_id,
            definition=self.definition(base, egress, idle),
            resources=resources,
        )


class SharedPatch(Closed):
    """What v1 and v2 patches have in common."""

    display_name: str | None = None
    environment_variables: dict[str, str] | None = None
    ingress_specs: list[IngressIn] | None = None
    idle_policy: IdleIn | None = None
    resources: PatchResources | None = None
    secret_configuration: list[SecretUseIn] | None = None
    vnc_enabled: bool | None = None
    tls_passthrough_hosts: list[str] | None = None
    llm_tool_io_capture_enabled: bool | None = None
    llm_session_content_capture_enabled: bool | None = None
    llm_token_saving_policy: SavingsIn | None = None

    def patch(self, old: Captures, egress: EgressPolicy | None) -> Patch:
        """Return the change. Raises Unimplemented for what this server does not have."""
        _refuse(self.vnc_enabled, "vnc_enabled")
        _refuse(self.tls_passthrough_hosts, "tls_passthrough_hosts")
        resources = self.resources or PatchResources()
        requests = resources.requests or PatchRequests()
        _check_disk(requests.disk_gib)
        return Patch(
            display_name=self.display_name,
            memory_mib=requests.memory_mib,
            memory_limit_mib=resources.limits.memory_mib if resources.limits else None,
            disk_gib=requests.disk_gib,
            egress=egress,
            idle=self.idle_policy.domain() if self.idle_policy else None,
            ingress=_ingress(self.ingress_specs),
            environment=self.environment_variables,
            secrets=_secrets(self.secret_configuration),
            captures=_captures(self, old),
        )


class PatchV1(SharedPatch):
    """PATCH /v1/runtimes/{runtime}."""

    egress_policy: EgressV1 | None = None

    def domain(self, old: Captures) -> Patch:
        """Return the change."""
        return self.patch(old, self.egress_policy.domain() if self.egress_policy else None)


class PatchV2(SharedPatch):
    """PATCH /v2/runtimes/{runtime_id}."""

    egress_policy: Denylist | Allowlist | None = None

    def domain(self, old: Captures) -> Patch:
        """Return the change."""
        return self.patch(old, self.egress_policy.domain() if self.egress_policy else None)


class ExecIn(msgspec.Struct, kw_only=True):
    """POST .../exec. With `args`, even empty, the command is a program; without, or null, it is a shell command."""

    command: str
    args: list[str] | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    stdin: str | None = None
    timeout_secs: int | None = None
    max_output_bytes: int | None = None


class CheckpointIn(msgspec.Struct, kw_only=True):
    """POST .../checkpoints."""

    kind: Literal["full", "live", "cold"] | None = None
    name: str | None = None


class SecretV1(msgspec.Struct, kw_only=True):
    """POST /v1/secrets, open to unknown fields."""

    name: str
    value: str
    cache_ttl_secs: int | None = None


class SecretV2(Closed):
    """POST /v2/secrets."""

    name: str
    value: str
    cache_ttl_secs: int | None = None


class SecretPut(msgspec.Struct, kw_only=True):
    """PUT .../secrets/{name}."""

    value: str
    cache_ttl_secs: int | None = None


def _refuse(value: object, what: str) -> None:
    if value:
        raise Unimplemented(f"{what} is not implemented by this server")


def _check_disk(disk_gib: int | None) -> None:
    if disk_gib is not None and not DISK_MIN_GIB <= disk_gib <= DISK_MAX_GIB:
        raise InvalidArgument(f"resources.requests.disk_gib must be {DISK_MIN_GIB} to {DISK_MAX_GIB}")


def _ingress(specs: list[IngressIn] | None) -> tuple[IngressSpec, ...] | None:
    if specs is None:
        return None
    return tuple(IngressSpec(protocol=spec.protocol, runtime_port=spec.runtime_port) for spec in specs)


def _secrets(uses: list[SecretUseIn] | None) -> tuple[SecretUse, ...] | None:
    return None if uses is None else tuple(use.domain() for use in uses)


def _captures(body: Shared | SharedPatch, old: Captures) -> Captures:
    savings = body.llm_token_saving_policy
    tool_io, content = body.llm_tool_io_capture_enabled, body.llm_session_content_capture_enabled
    return Captures(
        tool_io=old.tool_io if tool_io is None else tool_io,
        session_content=old.session_content if content is None else content,
        json_array=savings.json_array_enabled if savings else old.json_array,
        log=savings.log_enabled if savings else old.log,
        search_results=savings.search_results_enabled if savings else old.search_results,
        git_diff=savings.git_diff_enabled if savings else old.git_diff,
    )
