"""What a task's environment is made of, read from its files. Pure types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.runtimes.isolation.engine import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How to find out that a service works."""

    argv: Sequence[str]
    interval_secs: float = 30.0
    timeout_secs: float = 30.0
    retries: int = 3
    start_period_secs: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An image to build: a folder of the package and a Dockerfile in it."""

    context: Path
    dockerfile: str = "Dockerfile"
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Carried:
    """Files of the package that are copied to a place of a service when it starts."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One service of a compose file."""

    name: str
    image: str | None = None
    build: Build | None = None
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    ports: Sequence[int] = ()
    depends_on: Mapping[str, str] = field(default_factory=dict)
    """What must have happened to other services before it starts: `started`, `healthy` or `completed`."""
    health: Health | None = None
    no_health: bool = False
    """The image's own check is switched off."""
    carried: Sequence[Carried] = ()
    folders: Sequence[str] = ()
    """What is there when it starts: volumes of its own and its working folder, made where the image has none."""
    networks: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"default": ()})
    """Names under which others of a network reach it, beside its own."""
    memory_bytes: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """All that an environment needs."""

    services: Mapping[str, ServicePlan] = field(default_factory=dict)
    """In an order in which each comes after those that it depends on."""
    exposed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    network: Network = Network.NONE
    """How the sandboxes reach the outside."""
    egress: Sequence[str] | None = None
    """The only targets that they may connect to; None where `network` says all."""
    main: str | None = None
    """The service in which commands run; None means a sandbox of their own."""
    hidden: Sequence[Path] = ()
    """Files and folders of the package that commands must not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """How what an image holds is started."""

    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    ports: Sequence[int] = ()
    health: Health | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Files to start from: a base, and what was built on it."""

    base: str
    checkpoint_id: str | None = None
    config: ImageConfig = field(default_factory=ImageConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """An environment's blueprint with all its images."""

    package: Any
    blueprint: Blueprint
    images: Mapping[str, Image] = field(default_factory=dict)
    """By service."""
