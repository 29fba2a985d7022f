"""A real sshd on loopback. Owns its configuration, its keys and its end."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from tests.support.server import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True)
class Sshd:
    """A running sshd and a key that it accepts."""

    port: int
    key: str
    """A private key that it accepts."""
    host_key: str
    """Its own public key."""


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Run an sshd on loopback that lets one key in as the user of the tests, with its files in a folder."""
    host, user = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    (folder / "host").write_bytes(host.export_private_key())
    (folder / "host").chmod(0o600)
    (folder / "authorized").write_bytes(user.export_public_key())
    port = free_port()
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", "UsePAM no", "StrictModes no",
        f"AuthorizedKeysFile {folder}/authorized", "PermitRootLogin yes", "PasswordAuthentication no",
        "Subsystem sftp internal-sftp", f"PidFile {folder}/pid",
    ]  # fmt: skip
    (folder / "config").write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        wait_for_port(port)
        yield Sshd(port, user.export_private_key().decode(), host.export_public_key().decode())
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "sshd did not start"
            time.sleep(0.05)
        else:
            return
