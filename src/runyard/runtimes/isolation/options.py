"""Settings of the isolation engines. Owns one frozen record; reads no environment and no file.

The composition root builds it from the server's settings; tests build it by hand.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

UID_COUNT = 65_536
"""Width of the id range of the sandboxes: ids 0 to 65535 exist inside."""

DEFAULT_UID_BASE = 0x7000_0000
"""First host id of that range. systemd hands out 524288 to 0x6FFFFFFF to containers and shadow-utils starts
subordinate ids at 100000, so the range from 0x70000000 collides with neither; real users end at 60000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationOptions:
    """All that the engines need to know of this installation."""

    data_dir: Path
    """Folder of the engine: layers, bases, compiled agent. Made when missing, readable by root alone."""
    uid_base: int = DEFAULT_UID_BASE
    """Host id that root inside every sandbox is mapped to."""
    warm_pool_size: int = 2
    """Blank sandboxes kept ready; 0 turns the pool off."""
    seats: int = 2
    """Inits kept waiting in groups of their own, from which a sandbox with any base or layer is made; 0 for none."""
    warm_shells: int = 1
    """Shells kept waiting in each sandbox once its first shell was asked for; 0 turns them off."""
    default_base: str = "host"
    """Base of the warm pool."""
    host_base_hidden: tuple[str, ...] = ("/usr/local", "/usr/src")
    """Folders of the host whose content the base `host` does not show."""
    directory_bases: Mapping[str, Path] = field(default_factory=dict)
    """Root file systems by name, used as `dir:<name>`."""
    disk_pool_bytes: int = 64 << 30
    """Size of the sparse image that holds all writable layers."""
    default_disk_bytes: int | None = None
    """Limit of a writable layer when the caller asks for none."""
    blank_layers: int = 3
    """Empty writable layers kept prepared."""
    network_cidr: str = "10.83.0.0/16"
    """Addresses of the sandboxes with `Network.OPEN`, cut into pairs."""
    block_private: bool = False
    """Refuse connections from sandboxes to private address ranges."""
    nameservers: tuple[str, ...] = ()
    """Resolvers inside; empty means the host's own that are not loopback."""
    agent_path: Path | None = None
    """Compiled `runyard-agent` to use instead of the packaged one."""
    compile_agent: bool = True
    """Compile the agent at the first start when the package carries only its sources."""

    @property
    def instance(self) -> str:
        """Return a short name of this installation, equal for equal data folders, for groups and devices."""
        return hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:10]
