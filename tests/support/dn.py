"""The vendor's `dn` command and SDK, unmodified, in an environment of their own. Owns their installation and their calls."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.commands import Done
from tests.support.sdk import CACHE, uv
from tests.support.server import Server

VERSION = "2.0.52"
FEW = ("cyclopts", "loguru", "pyyaml", "pydantic", "requests", "truststore", "httpx", "logfire<5", "coolname", "jsonschema", "fsspec")  # fmt: skip
"""What the command needs to start; what the package declares beside them takes gigabytes."""


@dataclass(frozen=True)
class Dn:
    """The command with a home of its own, pointed at a server by its variables unless told otherwise."""

    server: Server
    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    """The API key; None means the server's admin token."""

    def __call__(self, *words: str, timeout: float = 60, **variables: str) -> Done:
        """Run the command with some words and wait for its end."""
        process = subprocess.run(
            [str(executable()), *words],
            env={**self.environment(), **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.home,
        )
        return Done.of(process)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command: the five variables, which stand for a profile."""
        place = {
            "DREADNODE_SERVER": self.server.url,
            "DREADNODE_API_KEY": self.key or self.server.token,
            "DREADNODE_ORGANIZATION": "default",
            "DREADNODE_WORKSPACE": "default",
            "DREADNODE_PROJECT": "default",
        }
        return {**self.bare(), **place, **self.variables}

    def bare(self) -> dict[str, str]:
        """Return an environment that names no server."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "200", "BROWSER": "true"}

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start the command and return the process; the caller waits for it."""
        return subprocess.Popen(
            [str(executable()), *words],
            env=dict(environment if environment is not None else self.environment()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.home,
        )

    def script(self, source: str, *, timeout: float = 60) -> Any:
        """Run a Python script with the SDK and return the JSON document that it prints last."""
        process = subprocess.run(
            [str(python()), "-c", source],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.home,
        )
        assert process.returncode == 0, f"{process.returncode}\n{process.stdout}\n{process.stderr}"
        return json.loads(process.stdout.splitlines()[-1])


def python() -> Path:
    """Return an interpreter with the package; it is installed at the first call, without most of its dependencies."""
    home = CACHE / f"dreadnode-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = home / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            quiet: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
            install = [uv(), "pip", "install", "--python", str(interpreter)]
            subprocess.run([uv(), "venv", "--python", sys.executable, str(home)], **quiet)
            subprocess.run([*install, "--no-deps", f"dreadnode=={VERSION}"], **quiet)
            subprocess.run([*install, *FEW], **quiet)
            (home / "complete").touch()
    return interpreter


def executable() -> Path:
    """Return the command."""
    return python().parent / "dn"
