"""Driving the command line: in this process for speed, as a process of its own where signals, stdin or a terminal matter."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
