"""What a caller asks of a runtime: resources, egress, idling, secrets. Frozen values and their pure validation.

Nothing here knows of a state, of a table or of an engine.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runyard.kernel.errors import InvalidArgument, Unimplemented

NAME_LIMIT = 63
ENVIRONMENT_LIMIT = 64
ENVIRONMENT_NAME_BYTES = 128
ENVIRONMENT_VALUE_BYTES = 8192
ENVIRONMENT_TOTAL_BYTES = 65_536
INGRESS_LIMIT = 16
EGRESS_LIMIT = 128
SECRETS_LIMIT = 64
TEMPLATE_LIMIT = 8192
IDLE_SECONDS_LIMIT = 2_147_483_647
PLACEHOLDER = "${secret}"

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNWANTED = re.compile(r"[\x00-\x1f\x7f]")


class EgressMode(enum.StrEnum):
    """How the egress lists are read."""

    DENYLIST = "denylist"
    ALLOWLIST = "allowlist"


class IdleMode(enum.StrEnum):
    """What happens to a runtime that nobody uses."""

    DISABLED = "disabled"
    SUSPEND_ONLY = "suspend_only"
    SUSPEND_AND_WAKEUP = "suspend_and_wakeup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a runtime is given: `memory_mib` is what it asks for, `memory_limit_mib` what it may use at most."""

    vcpus: int = 1
    memory_mib: int = 1024
    memory_limit_mib: int = 1024
    disk_gib: int | None = None
    """Limit of the writable files; None means the engine's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """The most that one runtime of this server may ask for."""

    vcpus: int
    memory_mib: int
    disk_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Where a runtime may connect to. Only the two extremes can be enforced: everywhere and nowhere."""

    mode: EgressMode = EgressMode.DENYLIST
    allowed_hosts: tuple[str, ...] = ()
    denied_hosts: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether the policy allows the outside at all."""
        return self.mode is EgressMode.DENYLIST

    def validate(self) -> None:
        """Refuse what no gateway here enforces. Raises InvalidArgument, Unimplemented."""
        if max(len(self.allowed_hosts), len(self.denied_hosts)) > EGRESS_LIMIT:
            raise InvalidArgument(f"an egress list has at most {EGRESS_LIMIT} entries")
        for host in (*self.allowed_hosts, *self.denied_hosts):
            if not host or len(host) > 253 or _UNWANTED.search(host):
                raise InvalidArgument("an egress host must be 1 to 253 printable characters")
        enforced = self.denied_hosts if self.is_open else self.allowed_hosts
        if enforced:
            raise Unimplemented("egress by host list is not implemented: allow everything or nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePolicy:
    """When an unused runtime is suspended, and whether use wakes it."""

    mode: IdleMode = IdleMode.DISABLED
    suspend_after_secs: int | None = None

    def validate(self) -> None:
        """Check that the seconds are there exactly when a mode needs them. Raises InvalidArgument."""
        if self.mode is IdleMode.DISABLED:
            return
        if self.suspend_after_secs is None or not 1 <= self.suspend_after_secs <= IDLE_SECONDS_LIMIT:
            raise InvalidArgument(f"idle_policy.suspend_after_secs must be 1 to {IDLE_SECONDS_LIMIT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressSpec:
    """A port that the caller would like published. Kept and shown; nothing publishes it yet."""

    protocol: str
    runtime_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVariable:
    """An environment variable whose value holds a secret."""

    name: str
    value_template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file, relative to the home folder, whose content holds a secret."""

    path: str
    value_template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretUse:
    """Where one stored secret is injected."""

    secret_id: str
    environment: tuple[SecretVariable, ...] = ()
    files: tuple[SecretFile, ...] = ()

    def validate(self) -> None:
        """Check names, paths and templates. Raises InvalidArgument."""
        for variable in self.environment:
            check_environment_name(variable.name)
            _check_template(variable.value_template)
        for file in self.files:
            _check_home_path(file.path)
            _check_template(file.value_template)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """Switches of the vendor's model-traffic features. Kept and shown, without effect here."""

    tool_io: bool = False
    session_content: bool = False
    json_array: bool = False
    log: bool = False
    search_results: bool = False
    git_diff: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Everything about a runtime that its owner decides."""

    base: str = "host"
    resources: Resources = field(default_factory=Resources)
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    idle: IdlePolicy = field(default_factory=IdlePolicy)
    ingress: tuple[IngressSpec, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretUse, ...] = ()
    captures: Captures = field(default_factory=Captures)

    def validate(self, limits: ResourceLimits) -> None:
        """Check every part. Raises InvalidArgument naming the field, Unimplemented."""
        check_resources(self.resources, limits)
        self.egress.validate()
        self.idle.validate()
        check_environment(self.environment)
        _check_ingress(self.ingress)
        if len(self.secrets) > SECRETS_LIMIT:
            raise InvalidArgument(f"secret_configuration has at most {SECRETS_LIMIT} entries")
        for use in self.secrets:
            use.validate()


def check_name(name: str, what: str = "name") -> str:
    """Return the name when it is 1 to 63 characters without control characters. Raises InvalidArgument."""
    if not 1 <= len(name) <= NAME_LIMIT:
        raise InvalidArgument(f"{what} must be 1 to {NAME_LIMIT} characters")
    if _UNWANTED.search(name):
        raise InvalidArgument(f"{what} must not contain control characters")
    return name


def check_resources(resources: Resources, limits: ResourceLimits) -> None:
    """Check the numbers against each other and against the server's maxima. Raises InvalidArgument."""
    _in_range("resources.requests.vcpus", resources.vcpus, limits.vcpus)
    _in_range("resources.requests.memory_mib", resources.memory_mib, limits.memory_mib)
    _in_range("resources.limits.memory_mib", resources.memory_limit_mib, limits.memory_mib)
    if resources.disk_gib is not None:
        _in_range("resources.requests.disk_gib", resources.disk_gib, limits.disk_gib)
    if resources.memory_limit_mib < resources.memory_mib:
        raise InvalidArgument("resources.limits.memory_mib must not be below resources.requests.memory_mib")


def _in_range(what: str, value: int, maximum: int) -> None:
    if not 1 <= value <= maximum:
        raise InvalidArgument(f"{what} must be 1 to {maximum} on this server", maximum=maximum)


def check_environment_name(name: str) -> None:
    """Check one variable name. Raises InvalidArgument."""
    if len(name) > ENVIRONMENT_NAME_BYTES or _ENV_NAME.match(name) is None:
        raise InvalidArgument(
            f"environment variable name {name[:40]!r} must match [A-Za-z_][A-Za-z0-9_]* "
            f"and have at most {ENVIRONMENT_NAME_BYTES} bytes"
        )


def check_environment(environment: Mapping[str, str]) -> None:
    """Check the variables that a runtime keeps. Raises InvalidArgument."""
    if len(environment) > ENVIRONMENT_LIMIT:
        raise InvalidArgument(f"environment_variables has at most {ENVIRONMENT_LIMIT} entries")
    total = 0
    for name, value in environment.items():
        check_environment_name(name)
        if name.startswith("RUNTA_"):
            raise InvalidArgument("environment variable names that begin with RUNTA_ are reserved")
        size = len(value.encode("utf-8", "surrogatepass"))
        total += size + len(name)
        if size > ENVIRONMENT_VALUE_BYTES:
            raise InvalidArgument(f"environment variable {name} exceeds {ENVIRONMENT_VALUE_BYTES} bytes")
        if any(bad in value for bad in "\0\r\n"):
            raise InvalidArgument(f"environment variable {name} must not contain NUL, CR or LF")
    if total > ENVIRONMENT_TOTAL_BYTES:
        raise InvalidArgument(f"environment_variables exceed {ENVIRONMENT_TOTAL_BYTES} bytes in total")


def _check_ingress(specs: Sequence[IngressSpec]) -> None:
    if len(specs) > INGRESS_LIMIT:
        raise InvalidArgument(f"ingress_specs has at most {INGRESS_LIMIT} entries")
    for spec in specs:
        if spec.protocol not in ("http", "https"):
            raise InvalidArgument("ingress_specs[].protocol must be http or https")
        if not 0 <= spec.runtime_port <= 65_535:
            raise InvalidArgument("ingress_specs[].runtime_port must be 0 to 65535")


def _check_template(template: str) -> None:
    if template.count(PLACEHOLDER) != 1:
        raise InvalidArgument(f"value_template must contain {PLACEHOLDER} exactly once")
    if len(template) > TEMPLATE_LIMIT or "\0" in template:
        raise InvalidArgument(f"value_template must be at most {TEMPLATE_LIMIT} characters without NUL")


def _check_home_path(path: str) -> None:
    parts = path.split("/")
    if (
        not path
        or len(path) > 4096
        or "\0" in path
        or path.startswith("/")
        or ".." in parts
        or parts[-1] in ("", ".")
    ):
        raise InvalidArgument("a secret file's path must be relative to the home folder and stay below it")
