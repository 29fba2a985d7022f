"""Real `runyard serve` processes. Owns their folder, port, log and end; knows nothing of what is tested."""

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import leaks
from tests.support.agent import place_agent
from tests.support.http import Api

ADMIN_TOKEN = "ry_admin_for_tests_0123456789abcdef0123456789"
START_SECONDS = 40.0
STOP_SECONDS = 30.0
_PORTS = (12_000, 32_000)


def free_port() -> int:
    """Return a loopback port on which nobody listens. It is none of those that the kernel gives to outgoing connections,
    so that none of them takes it before it is bound, or while its server is stopped for a moment.
    """
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_networks = itertools.count()


def free_network() -> int:
    """Return an octet that no server alive on this worker or beside it has: even ones on one, odd ones on the other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return 100 + (2 * next(_networks) + int(worker.removeprefix("gw")) % 2) % 100


def default_command() -> list[str]:
    """Return the command of the environment that runs the tests."""
    return [str(Path(sys.executable).parent / "runyard"), "serve"]


@dataclass
class Server:
    """One data folder and the process that serves it, which may be started many times."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside the fixed ones."""
    command: list[str] = field(default_factory=default_command)
    token: str = ADMIN_TOKEN
    port: int = field(default_factory=free_port)
    network: int = field(default_factory=free_network)
    """The second octet of the addresses that its runtimes get."""
    compiled: bool = False
    """Whether a new data folder is given the compiled agent, so that the server need not compile it."""
    process: subprocess.Popen[bytes] | None = None
    traces: leaks.Traces = field(default_factory=leaks.Traces)

    @property
    def data_dir(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    def kept_layers(self) -> list[str]:
        """List the sandboxes whose files the running server keeps; it alone has them mounted."""
        assert self.process is not None
        kept = Path(f"/proc/{self.process.pid}/root{self.data_dir}") / "isolation" / "layers"
        return [path.name for path in (*kept.glob("live/*"), *kept.glob("*/live/*"))]

    @property
    def log_path(self) -> Path:
        """Return the file with all that the process printed."""
        return self.folder / "server.log"

    @property
    def url(self) -> str:
        """Return the base address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        assert self.process is not None, "the server is not running"
        return self.process.pid

    def api(self, timeout: float = 60.0) -> Api:
        """Make a client with the admin token."""
        return Api("127.0.0.1", self.port, self.token, timeout)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the process; little is inherited."""
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ
        }
        fixed = {
            "HOME": str(self.folder),
            "RUNYARD_HOST": "127.0.0.1",
            "RUNYARD_PORT": str(self.port),
            "RUNYARD_DATA_DIR": str(self.data_dir),
            "RUNYARD_ADMIN_TOKEN": self.token,
            # Servers beside each other must not hand out the same addresses.
            "RUNYARD_RUNTIMES__NETWORK_CIDR": f"10.{self.network}.0.0/16",
            "PYTHONWARNINGS": "default",
        }
        return {**kept, **fixed, **self.settings}

    def start(self) -> "Server":
        """Start the process and wait until it can serve."""
        assert self.process is None, "the server is running already"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.compiled:
            place_agent(self.data_dir)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_ready(self) -> None:
        """Wait until `/healthz` answers 200; a dead process fails at once, with its log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}\n{self.log_tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException), self.api(timeout=2) as api:
                if api.get("/healthz").status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not answer in {START_SECONDS} s\n{self.log_tail()}")

    def stop(self) -> int:
        """End the process by SIGTERM and return its exit status; killed when it takes too long."""
        assert self.process is not None, "the server is not running"
        self.traces.collect(self.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no end {STOP_SECONDS} s after SIGTERM\n{self.log_tail()}") from None
        finally:
            self.process = None

    def kill(self) -> None:
        """End the process by SIGKILL."""
        if self.process is None:
            return
        self.traces.collect(self.pid)
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Stop cleanly, then start again on the same folder and port."""
        assert self.stop() == 0, self.log_tail()
        self.start()

    def close(self) -> None:
        """Stop if running, and assert a clean exit and that nothing is left on the host."""
        if self.process is not None:
            status = self.stop()
            assert status == 0, f"exit status {status} after SIGTERM\n{self.log_tail()}"
        self.traces.assert_gone(self.data_dir)

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines of the log."""
        text = self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
