"""Driving the command line: in this process for speed, as a process of its own where signals, stdin or a terminal matter."""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from runyard.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse what was printed."""
        return json.loads(self.out)

    def error(self) -> Any:
        """Parse the error document on stderr."""
        return json.loads(self.err)["error"]

    def expect(self, status: int) -> "Ran":
        """Assert the exit status, showing the output when it differs."""
        assert self.status == status, f"{self.status} instead of {status}\n{self.out}\n{self.err}"
        return self


def environment_for(home: Path, url: str | None, token: str | None) -> dict[str, str]:
    """Return the whole environment of a command: nothing of ours but the path."""
    fixed = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
    fixed |= {"RUNYARD_URL": url} if url else {}
    return fixed | ({"RUNYARD_TOKEN": token} if token else {})


def runyard_command(*arguments: str) -> list[str]:
    """Return the installed command of this environment."""
    return [str(Path(sys.executable).parent / "runyard"), *arguments]


@dataclass
class Cli:
    """Runs command lines in this process."""

    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    environment: Mapping[str, str]

    def __call__(self, *arguments: str) -> Ran:
        """Run one command line."""
        self.capture.readouterr()
        with self.monkeypatch.context() as patch:
            for name in [one for one in os.environ if one.startswith(("RUNYARD_", "XDG_", "_RUNYARD"))]:
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            status = main(list(arguments))
        out, err = self.capture.readouterr()
        return Ran(status, out, err)


def run_process(
    environment: Mapping[str, str], *arguments: str, stdin: bytes = b"", timeout: float = 30
) -> Ran:
    """Run one command line as a process."""
    done = subprocess.run(
        runyard_command(*arguments),
        env=dict(environment),
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class Starter:
    """Starts command lines in the background."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Use this environment."""
        self._environment = dict(environment)
        self._made: list[subprocess.Popen[bytes]] = []

    def __call__(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start one, with more environment variables."""
        process = subprocess.Popen(
            runyard_command(*arguments),
            env=self._environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._made.append(process)
        return process

    def __enter__(self) -> Self:
        """Use it as a context that ends what is left."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Kill what is left."""
        for process in self._made:
            process.kill()
            process.communicate()


class Terminal:
    """A command line on a pseudo terminal of its own, 40 rows and 100 columns."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        """Start it."""
        self.ours, self.theirs = pty.openpty()
        self.resize(40, 100)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            runyard_command(*arguments),
            env={**environment, "TERM": "xterm"},
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
        )

    def resize(self, rows: int, cols: int) -> None:
        """Change the size of the terminal."""
        termios.tcsetwinsize(self.ours, (rows, cols))

    def type(self, data: bytes) -> None:
        """Type something."""
        os.write(self.ours, data)

    def read_until(self, text: bytes) -> bytes:
        """Read what is shown until a text has come."""
        return read_descriptor_until(self.ours, text)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


class TerminalStarter:
    """Starts command lines on terminals."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Use this environment."""
        self._environment = dict(environment)
        self._made: list[Terminal] = []

    def __call__(self, *arguments: str, **more: str) -> Terminal:
        """Start one, with more environment variables."""
        one = Terminal(self._environment | more, *arguments)
        self._made.append(one)
        return one

    def __enter__(self) -> Self:
        """Use it as a context that ends what is left."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End all."""
        for one in self._made:
            one.close()


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Read the stdout of a process until a text has come."""
    assert process.stdout is not None
    return read_descriptor_until(process.stdout.fileno(), text)


def read_descriptor_until(descriptor: int, text: bytes) -> bytes:
    """Read a descriptor until a text has come; fail after 20 s."""
    data = b""
    deadline = time.monotonic() + 20
    while text not in data:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{text!r} did not come, only {data!r}"
        block = os.read(descriptor, 65536)
        assert block, f"the output ended without {text!r}: {data!r}"
        data += block
    return data
