"""The peers: bubblewrap, OpenSSH over one connection, the SWE-ReX server. Owns their processes and temporary folders."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bare, wire
from tests.support.sdk import environment
from tests.support.server import free_port

SWE_REX = "1.4.0"
BWRAP = [
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "ALL",
]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to run a command: a call for `true`, one for `echo hi` in a shell, and bytes for a load if it has a server."""

    name: str
    argv: Callable[[], object] | None = None
    shell: Callable[[], object] | None = None
    port: int = 0
    request: bytes = b""
    missing: str = ""
    """Why it cannot be measured here; empty when it can."""


def checked(argv: list[str]) -> Callable[[], object]:
    """Return a call that runs a command and insists on success."""

    def call() -> None:
        status = bare.run(argv)
        if status:
            raise RuntimeError(f"{argv[0]} ended with {status}")

    return call


def bubblewrap() -> Peer:
    """Describe a fresh bubblewrap for every command."""
    path = shutil.which("bwrap")
    if path is None:
        return Peer("bubblewrap per command", missing="no bwrap (Debian package bubblewrap)")
    base = [path, *BWRAP]
    peer = Peer("bubblewrap per command", checked([*base, "true"]), checked([*base, "sh", "-c", "echo hi"]))
    try:
        assert peer.argv is not None
        peer.argv()
    except RuntimeError as error:
        return Peer(peer.name, missing=str(error))
    return peer


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a port takes connections. Raises RuntimeError when the process ends or half a minute passed."""
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"no answer on port {port}")


def write_ssh_files(folder: Path, port: int) -> None:
    """Write keys, the server's configuration, and an account list in which root has a plain shell and an empty home."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    (folder / "home").mkdir(mode=0o700)
    accounts = Path("/etc/passwd").read_text().splitlines()
    accounts = [
        f"root:x:0:0:root:{folder / 'home'}:/bin/sh" if a.startswith("root:") else a for a in accounts
    ]
    (folder / "passwd").write_text("\n".join(accounts) + "\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\n"
        "PermitRootLogin prohibit-password\nUsePAM no\nPasswordAuthentication no\nStrictModes no\nPidFile none\n"
        "PrintMotd no\nPrintLastLog no\nMaxSessions 100\n"
    )


@contextlib.contextmanager
def ssh(folder: Path) -> Iterator[Peer]:
    """Run an own sshd on loopback and hold one multiplexed connection open."""
    name = "ssh, multiplexed on loopback"
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None or os.geteuid() != 0:
        yield Peer(name, missing="no sshd, no ssh (Debian package openssh-server) or not root")
        return
    port = free_port()
    write_ssh_files(folder, port)
    # The account list and /run/sshd exist in a mount namespace of sshd alone, so that the machine stays as it is.
    prepare = f"mount --bind {folder}/passwd /etc/passwd; mkdir -p /run/sshd; exec {sshd} -D -e -f {folder}/sshd_config"
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare], stderr=log
        )
    base = [
        "/usr/bin/ssh",
        "-F",
        "none",
        "-i",
        str(folder / "user"),
        "-p",
        str(port),
        "-S",
        str(folder / "mux"),
    ]
    base += ["-o", f"UserKnownHostsFile={folder}/known", "-o", "StrictHostKeyChecking=accept-new"]
    base += ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "root@127.0.0.1"]
    master: subprocess.Popen[bytes] | None = None
    try:
        await_port(port, server)
        master = subprocess.Popen([*base[:-1], "-M", "-N", base[-1]])
        for _ in range(100):
            if (folder / "mux").exists():
                break
            time.sleep(0.1)
        yield Peer(name, checked([*base, "true"]), checked([*base, "echo hi"]))
    except (RuntimeError, subprocess.CalledProcessError) as error:
        yield Peer(name, missing=f"{error}: {(folder / 'sshd.log').read_text()[-300:]}")
    finally:
        for process in (master, server):
            if process is not None:
                process.terminate()
                process.wait()


@contextlib.contextmanager
def swe_rex(folder: Path) -> Iterator[Peer]:
    """Run the SWE-ReX server, which isolates nothing."""
    name = "SWE-ReX server, execute"
    try:
        python = environment(f"swe-rex-{SWE_REX}", f"swe-rex=={SWE_REX}")
    except subprocess.CalledProcessError as error:
        yield Peer(name, missing=f"swe-rex could not be installed: {error.stderr[-200:]}")
        return
    port = free_port()
    argv = [
        str(python),
        "-m",
        "swerex.server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--auth-token",
        "bench",
    ]
    with (folder / "swerex.log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
    headers = {"X-API-Key": "bench"}
    try:
        await_port(port, server)
        line = wire.Line(port)
        plain = wire.request("POST", "/execute", {"command": ["true"], "shell": False}, headers)
        shell = wire.request("POST", "/execute", {"command": "echo hi", "shell": True}, headers)
        yield Peer(name, lambda: line.call(plain), lambda: line.call(shell), port, plain)
        line.close()
    except RuntimeError as error:
        yield Peer(name, missing=str(error))
    finally:
        server.terminate()
        server.wait()
