"""The settings: one documented tree, filled from flags, environment, a TOML file and defaults, in that order.

Owns names, units and bounds. Domains get small frozen records made from it by the composition root and never
read it. `python -m runyard.settings` prints the reference page.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from runyard.kernel.errors import RunyardError
from runyard.kernel.jsons import encode_json

MIB = 1 << 20
GIB = 1 << 30
MIN_ADMIN_TOKEN = 8


class BadSettings(RunyardError):
    """A setting is not valid."""

    code = "bad_settings"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Limits(_Group):
    """What one request or one account may take."""

    body_bytes: Annotated[int, Field(ge=MIB, le=4 * GIB)] = 128 * MIB
    """Largest request body, in bytes. File uploads are streamed and have their own limit."""
    upload_bytes: Annotated[int, Field(ge=0)] = 0
    """Largest file upload, in bytes; 0 means that only the disk limit of the runtime counts."""
    requests_at_once: Annotated[int, Field(ge=1, le=100_000)] = 4096
    """Requests served at once; more are answered 503. One account has seven eighths of them at most."""
    runtimes_per_account: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Runtimes of one account, whatever their state."""
    execs_per_runtime: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Commands running at once in one runtime; one more is answered 429."""
    execs_total: Annotated[int, Field(ge=1, le=100_000)] = 2048
    """Commands running at once on this server; one more is answered 429."""


class Exec(_Group):
    """Commands in runtimes."""

    default_timeout_secs: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3600
    """Used when a caller names no timeout, in seconds."""
    max_timeout_secs: Annotated[int, Field(ge=1, le=7 * 86_400)] = 86_400
    """Longest timeout that a caller may name, in seconds."""
    default_output_bytes: Annotated[int, Field(ge=0, le=GIB)] = 4 * MIB
    """Bytes of each stream in a buffered answer when the caller names no cap."""
    max_output_bytes: Annotated[int, Field(ge=0, le=GIB)] = 64 * MIB
    """Largest cap that a caller may name, in bytes."""
    kill_grace_secs: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Between TERM and KILL of a command that ran too long, in seconds."""
    quiet_secs: Annotated[float, Field(ge=0, le=10)] = 0.25
    """How long to go on reading after a command ended while background children hold its output, in seconds."""


class Runtimes(_Group):
    """Runtimes and how they are isolated."""

    engine: Literal["namespaces", "process"] = "namespaces"
    """What isolates: `namespaces`, or `process`, which isolates nothing and must be asked for by name."""
    default_base: str = "host"
    """Base of runtimes that name no image: `host`, `dir:<name>` or an imported image."""
    directory_bases: Mapping[str, Path] = {}
    """Root file systems by name, usable as `dir:<name>`."""
    host_base_hidden: tuple[str, ...] = ("/usr/local", "/usr/src")
    """Folders of the host whose content the base `host` does not show."""
    warm_pool_size: Annotated[int, Field(ge=0, le=1000)] = 2
    """Blank sandboxes kept ready."""
    warm_shells: Annotated[int, Field(ge=0, le=16)] = 1
    """Shells kept waiting in each runtime in use."""
    pids: Annotated[int, Field(ge=16, le=1_000_000)] = 1024
    """Processes and threads in one runtime."""
    max_vcpus: Annotated[int, Field(ge=1, le=4096)] = 64
    """Largest number of processors that a runtime may ask for."""
    max_memory_mib: Annotated[int, Field(ge=64)] = 1 << 20
    """Largest memory that a runtime may ask for, in MiB."""
    max_disk_gib: Annotated[int, Field(ge=1)] = 256
    """Largest writable layer that a runtime may ask for, in GiB."""
    default_disk_bytes: Annotated[int, Field(ge=16 * MIB)] = 32 * GIB
    """Limit of a writable layer when the caller names none, in bytes."""
    disk_pool_bytes: Annotated[int, Field(ge=GIB)] = 64 * GIB
    """Size of the sparse image that holds all writable layers, in bytes."""
    uid_base: Annotated[int, Field(ge=65_536, le=0xFFFE0000)] = 0x7000_0000
    """Host user id that root inside every runtime is mapped to."""
    network_cidr: str = "10.83.0.0/16"
    """Addresses of runtimes with outgoing network."""
    block_private: bool = False
    """Refuse connections of runtimes, and of the action runner `http-request`, to private address ranges."""
    nameservers: tuple[str, ...] = ()
    """Resolvers inside runtimes; empty means the host's own."""
    idle_scan_secs: Annotated[float, Field(ge=0.05, le=3600)] = 5.0
    """How often idle runtimes are looked for, in seconds."""
    after_restart: Literal["start", "crash"] = "start"
    """What becomes of running runtimes when the server comes back: started again from their files, or `crashed`."""


class Output(_Group):
    """The output logs."""

    log_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 64 * MIB
    """Bytes kept of the output of one execution; the first are kept, the rest is counted."""
    retention_days: Annotated[float, Field(ge=0)] = 30.0
    """The output of an execution is removed so many days after its end, its row stays; 0 keeps it for ever."""
    retention_bytes: Annotated[int, Field(ge=0)] = 20 * GIB
    """Total size of all output logs above which the oldest are removed, in bytes; 0 means no limit."""


class Actions(_Group):
    """Actions of packs."""

    pack_folders: tuple[Path, ...] = ()
    """Folders that hold packs, one folder a pack; `packs` in the data folder is always looked at."""
    network: Literal["open", "none"] = "open"
    """Whether actions reach the outside: `open`, or `none` for loopback only."""
    unisolated_packs: tuple[str, ...] = ()
    """Packs whose actions run NOT isolated: as the server's own user, with its files and network, without limits."""
    memory_mib: Annotated[int, Field(ge=64)] = 1024
    """Memory of one run, in MiB."""
    pids: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    """Processes and threads of one run."""
    ready: Annotated[int, Field(ge=0, le=1000)] = 4
    """Sandboxes kept ready for the next runs."""
    known_hosts: Path | None = None
    """File of SSH host keys that remote actions accept; without it, they accept every host's key."""
    rbac: bool = False
    """Ask the roles that were assigned to a user (`runyard role apply`) for every operation of the StackStorm API."""
    permission_isolation: bool = False
    """Users who are no administrators see only their own executions through the StackStorm API."""
    callback_hosts: tuple[str, ...] = ()
    """Hosts that the end of an execution may be told to, when it was asked for with a `callback` with a `url`; `*` is all."""
    classic_ports: bool = False
    """Listen on 9100, 9101 and 9102 as well, where the `st2` command looks when it is given a base address only."""


class Environments(_Group):
    """Task packages, and the environments that are made from them."""

    hard_max_lifetime_secs: Annotated[int, Field(ge=1, le=30 * 86_400)] = 8 * 3600
    """Longest life that a caller may ask for, in seconds; a request above it is refused."""
    max_lifetime_secs: Annotated[int, Field(ge=1, le=30 * 86_400)] = 8 * 3600
    """Longest life of an environment, in seconds; a request above it is cut to it."""
    default_lifetime_secs: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3600
    """Life of an environment for which none was asked, in seconds."""
    package_bytes: Annotated[int, Field(ge=MIB, le=64 * GIB)] = GIB
    """Largest packed task package, in bytes."""
    package_unpacked_bytes: Annotated[int, Field(ge=MIB, le=256 * GIB)] = 4 * GIB
    """Largest task package when unpacked, in bytes."""
    package_files: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Most files and folders in a task package."""
    account_package_bytes: Annotated[int, Field(ge=MIB)] = 64 * GIB
    """Total size of the packed task packages of one account, in bytes."""
    engine: Literal["runyard", "docker"] = "runyard"
    """What environments are made with: the server's own engine, or `docker`, which is not implemented: creates are answered 409."""
    image_map: Mapping[str, str] = {"python:3*": "host"}
    """Bases that stand for images of Dockerfiles and compose files, by reference, `*` for any text. An imported image of that name goes before."""
    registries: tuple[str, ...] = ()
    """Registries that may be asked for images, by host: `docker.io`, `ghcr.io`, `registry.example.com:5000`; `http://` before a host switches TLS off. Without log-in."""
    network: Literal["open", "none"] = "open"
    """Whether environments reach the outside when their task does not say."""
    build_network: Literal["open", "none"] = "open"
    """Whether the steps of a Dockerfile reach the outside."""
    memory_mib: Annotated[int, Field(ge=64)] = 2048
    """Memory of each sandbox of an environment, in MiB."""
    pids: Annotated[int, Field(ge=16, le=1_000_000)] = 1024
    """Processes and threads of each sandbox of an environment."""
    cpus: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Processors of each sandbox of an environment; none means all."""
    max_living: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Environments that live at once on this server; one more is answered 429. One account has seven eighths of them at most."""
    provisions_at_once: Annotated[int, Field(ge=1, le=1024)] = 8
    """Environments that are provisioned at once; more wait in line."""
    provision_timeout_secs: Annotated[float, Field(ge=1, le=86_400)] = 900.0
    """After this an environment that is not ready has failed, its build included, in seconds."""
    executes_at_once: Annotated[int, Field(ge=1, le=1024)] = 16
    """Commands that run at once in one environment."""
    executes_waiting: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Commands that wait for their turn in one environment; one more is answered 429."""
    output_bytes: Annotated[int, Field(ge=1024, le=GIB)] = 10 * MIB
    """Output of one command in its answer, in bytes; of more, the middle is left out."""
    outputs_bytes: Annotated[int, Field(ge=1024, le=64 * GIB)] = 512 * MIB
    """Files that a verification may carry out of an environment, in bytes."""
    images_kept: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Built images kept; beyond this the longest unused are removed."""
    service_host: str = "127.0.0.1"
    """Address of this host at which the ports of services are published."""
    translate_verification: bool = False
    """Show how a task is verified as `env_flag` and `env_script`, the words that graders of environments read."""


class Infrastructure(_Group):
    """Plans and applies of Terraform and OpenTofu."""

    tools_folder: Path | None = None
    """Folder of the tools by version: `terraform/1.11.4/terraform`, `tofu/1.9.1/tofu`; default is `tools` in the data folder. The PATH is looked at too."""
    runs_at_once: Annotated[int, Field(ge=1, le=1024)] = 8
    """Plans and applies that run at one time; more wait in line."""
    command_timeout_secs: Annotated[int, Field(ge=1, le=86_400)] = 1800
    """Longest time of one command of the tool, in seconds."""
    run_timeout_secs: Annotated[int, Field(ge=1, le=7 * 86_400)] = 5400
    """Longest time of a plan or of an apply with all its commands, in seconds."""
    interrupt_grace_secs: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Between the interrupt, on which the tool writes its state and ends, and the kill, in seconds."""
    approval_window_secs: Annotated[int, Field(ge=1, le=365 * 86_400)] = 172_800
    """How long a plan waits for approval before it is discarded, in seconds."""
    memory_mib: Annotated[int, Field(ge=64)] = 4096
    """Memory of one plan or apply, in MiB."""
    pids: Annotated[int, Field(ge=16, le=1_000_000)] = 1024
    """Processes and threads of one plan or apply."""
    network: Literal["open", "none"] = "open"
    """Whether plans and applies reach the outside: `open`, or `none` for this server's state alone."""
    local_repositories: tuple[Path, ...] = ()
    """Folders of this host below which `file://` repositories may be; none are when empty."""
    archive_bytes: Annotated[int, Field(ge=MIB, le=16 * GIB)] = 512 * MIB
    """Largest size of unpacked code of one run, in bytes."""
    upload_bytes: Annotated[int, Field(ge=MIB, le=4 * GIB)] = 512 * MIB
    """Largest archive of code that a client may upload for a run, in bytes."""
    state_bytes: Annotated[int, Field(ge=MIB, le=GIB)] = 256 * MIB
    """Largest Terraform state, in bytes."""
    oidc_audience: str = "sts.amazonaws.com"
    """Audience of the tokens by which runs prove to a cloud what they are."""
    oidc_token_secs: Annotated[int, Field(ge=60, le=86_400)] = 7200
    """Life of such a token, in seconds; it must outlast a plan or an apply."""
    oidc_key_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """After so many days another key signs these tokens."""


class Guardrails(_Group):
    """Plans that are kept and the guardrails that judge them."""

    plan_retention_days: Annotated[float, Field(ge=0)] = 90.0
    """The resources and changed files of a plan are removed after so many days, its summary stays; 0 keeps them for ever."""
    prices: Path | None = None
    """File of prices by resource type, whose types win over those of the shipped table."""
    estimator_url: str | None = None
    """Where plans are posted, masked, for an estimate of their cost; without it, or without an answer, the prices count."""
    estimator_timeout_secs: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    """How long the estimator is waited for, in seconds."""
    policy_secs: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """Longest time of all policies over one plan, in seconds; what is not evaluated by then counts as violated."""
    policy_step_secs: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    """Longest time of one policy over one resource, in seconds."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts that webhooks may reach, `*` allowed, private ones too; when empty, all hosts with a public address."""
    webhook_private: bool = False
    """Without a list of hosts, let webhooks reach private, loopback and link-local addresses."""


class Logging(_Group):
    """The server's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` writes for people on a terminal and JSON elsewhere."""


class Metrics(_Group):
    """Prometheus metrics."""

    open: bool = False
    """Answer `GET /metrics` without a token."""


class Settings(BaseSettings):
    """All settings of a server."""

    model_config = SettingsConfigDict(
        env_prefix="RUNYARD_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port to listen on; 0 takes a free one."""
    public_url: str | None = None
    """Address under which clients reach the server, such as `https://runyard.example.com`, where it differs from host and port. Tokens for clouds name it as their issuer."""
    data_dir: Path = Field(default_factory=lambda: default_data_dir())
    """Folder of the database, the output logs, the layers and the key ring."""
    database_url: str | None = None
    """`sqlite:////path` or `postgresql://user:password@host/name`; default is SQLite in the data folder."""
    admin_token: SecretStr | None = None
    """First admin token, used only while the data folder is new; at least 8 characters. Else one is made and printed."""
    stop_secs: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """How long running requests may go on after a stop was asked for, in seconds."""
    limits: Limits = Limits()
    """What one request or one account may take."""
    exec: Exec = Exec()
    """Commands in runtimes."""
    runtimes: Runtimes = Runtimes()
    """Runtimes and how they are isolated."""
    output: Output = Output()
    """The output logs."""
    actions: Actions = Actions()
    """Actions of packs."""
    environments: Environments = Environments()
    """Task packages, and the environments that are made from them."""
    guardrails: Guardrails = Guardrails()
    """Plans that are kept and the guardrails that judge them."""
    infrastructure: Infrastructure = Infrastructure()
    """Plans and applies."""
    logging: Logging = Logging()
    """The server's own log."""
    metrics: Metrics = Metrics()
    """Prometheus metrics."""

    @field_validator("admin_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse a token that is too short before anything is started; an empty variable means none."""
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < MIN_ADMIN_TOKEN:
            raise ValueError(f"needs at least {MIN_ADMIN_TOKEN} characters")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: flags, environment, file. No `.env` file is ever read by surprise."""
        path = _config_path(init_settings(), env_settings())
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_file(path))


def default_data_dir() -> Path:
    """Return `/var/lib/runyard` for root, else `runyard` in the user's data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/runyard")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "runyard"


def load(**flags: object) -> Settings:
    """Read the settings; `flags` that are None were not given. Raises BadSettings naming each bad setting."""
    _refuse_unknown_environment()
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{_spelled(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        raise BadSettings("; ".join(lines)) from None
    except SettingsError as error:
        raise BadSettings(_unreadable_variable() or str(error)) from None


def _unreadable_variable() -> str | None:
    """Name the variable of a list or map whose text is no JSON: the library tells its group only."""
    known = {name.upper(): info for name, info in _leaves(Settings).items()}
    for variable, text in os.environ.items():
        info = known.get(variable.upper().removeprefix("RUNYARD_"))
        if (
            info is None
            or not variable.upper().startswith("RUNYARD_")
            or not isinstance(info.default, tuple | dict)
        ):
            continue
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            example = '["a", "b"]' if isinstance(info.default, tuple) else '{"name": "value"}'
            return f"{variable} is no JSON; write it as in {variable}='{example}'"
    return None


def _spelled(location: tuple[int | str, ...]) -> str:
    path = ".".join(str(part) for part in location)
    variable = "RUNYARD_" + "__".join(str(part) for part in location).upper()
    return f"{path} ({variable})"


def _refuse_unknown_environment() -> None:
    """Raise BadSettings for a nested variable that no setting has: a typing error must not pass in silence.

    Flat names are left alone, because the command line has variables of its own (RUNYARD_URL, RUNYARD_TOKEN).
    """
    known = {name.upper() for name in _leaves(Settings)}
    for variable in os.environ:
        name = variable.upper().removeprefix("RUNYARD_")
        if variable.upper().startswith("RUNYARD_") and "__" in name and name not in known:
            raise BadSettings(f"there is no setting {variable}; the settings are listed in docs/settings.md")


def _leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return every leaf of the tree by its path with double underscores."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found.update(_leaves(inner, f"{prefix}{name}__"))
        else:
            found[f"{prefix}{name}"] = info
    return found


def _config_path(flags: Mapping[str, Any], environment: Mapping[str, Any]) -> Path | None:
    """Find the file: RUNYARD_CONFIG, which must exist, else `runyard.toml` in the data folder."""
    named = os.environ.get("RUNYARD_CONFIG")
    if named:
        if not Path(named).is_file():
            raise BadSettings(f"the settings file {named} (RUNYARD_CONFIG) does not exist")
        return Path(named)
    folder = flags.get("data_dir") or environment.get("data_dir") or default_data_dir()
    path = Path(folder) / "runyard.toml"
    return path if path.is_file() else None


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"the settings file {path} cannot be read: {error}") from None


def reference_page() -> str:
    """Write the reference page of all settings as Markdown."""
    lines = [
        "# Settings",
        "",
        "Flags win over the environment, the environment over the file, the file over the default. The file is TOML:",
        "`RUNYARD_CONFIG`, else `runyard.toml` in the data folder; groups are its tables. A list or map in the environment",
        "is JSON: `RUNYARD_INFRASTRUCTURE__LOCAL_REPOSITORIES='[\"/srv/git\"]'`. `make docs` writes this page.",
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, info in _leaves(Settings).items():
        default = "depends on the user" if info.default_factory else _shown(info.default)
        path = name.replace("__", ".")
        lines.append(f"| `{path}` | `RUNYARD_{name.upper()}` | {default} | {info.description} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | dict):
        return f"`{encode_json(value).decode()}`"
    return f"`{value}`"


if __name__ == "__main__":
    print(reference_page(), end="")
