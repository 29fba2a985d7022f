"""The settings of environments as one frozen record. Reads no environment and no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runyard.environments.lifetimes import Lifetimes
from runyard.runtimes.isolation.engine import Limits, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOptions:
    """Limits and defaults of environments."""

    engine: str = "runyard"
    """`docker` is refused."""
    folder: Path
    """Working folder of builds."""
    base: str = "host"
    """What environments without an image of their own are made of."""
    image_map: Mapping[str, str] = field(default_factory=dict)
    """Bases by the reference under which Dockerfiles and compose files name them; `*` stands for any text."""
    registries: Sequence[str] = ()
    """Hosts of registries that may be asked for images."""
    network: Network = Network.OPEN
    """Of environments whose task does not say where they may connect to."""
    sandbox_addresses: str = "10.83.0.0/16"
    """Addresses of the sandboxes of this installation, which no task may list as a target."""
    build_network: Network = Network.OPEN
    """Of the steps of a build."""
    limits: Limits = field(default_factory=Limits)
    """Of each sandbox of an environment."""
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    max_living: int = 512
    """Environments that live at once on this server."""
    provisions_at_once: int = 8
    provision_secs: float = 900.0
    """After this an environment that is not ready counts as failed, its build included."""
    settle_secs: float = 0.2
    """How long a create waits for an environment that needs no build, so that most are ready in the first answer."""
    ready_secs: float = 20.0
    """How long a command is held while the environment comes back after a restart of the server; clients give up after
    30 seconds of silence, and must not hear of it by that.
    """
    execs_at_once: int = 16
    """Commands that run at once in one environment."""
    execs_waiting: int = 64
    """Commands that wait for their turn in one environment; one more is refused."""
    execs_wait_secs: float = 20.0
    """How long a command waits for its turn before it is refused; clients give up after 30 seconds of silence."""
    output_bytes: int = 10 << 20
    """Output of one command in its answer: beyond this the middle is left out."""
    grace_secs: float = 2.0
    """Between TERM and KILL of a command that ran too long."""
    keep_alive_secs: float = 5.0
    """After this a waiting answer begins, and a blank is sent as often."""
    reap_secs: float = 1.0
    """How often environments whose time is over are looked for."""
    outputs_bytes: int = 512 << 20
    """What a verification may carry out of an environment."""
    translate_verification: bool = False
    """Show how a task is verified as `env_flag` and `env_script`, the words that graders of environments read."""
    images_kept: int = 256
    """Built images kept; beyond this the longest unused go."""
    service_host: str = "127.0.0.1"
    """Address at which the ports of services are published."""
