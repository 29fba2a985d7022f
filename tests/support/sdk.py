"""The vendor's SDKs, each in an environment of its own. Owns their installation and the running of scripts in them."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "acceptance" / "sdk_scripts"
CACHE = ROOT / ".cache" / "environments"


def uv() -> str:
    """Return the path of uv: the project's own, else the one on the PATH."""
    own = ROOT / ".cache" / "tools" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    assert found, "uv is needed to install the SDKs; run scripts/setup.sh"
    return found


def environment(name: str, *requirements: str) -> Path:
    """Make a virtual environment with packages from PyPI, once, and return its interpreter.

    Kept in the ignored cache folder by name and Python version; safe when several test runs ask at once.
    """
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    home = CACHE / f"{name}-{version}"
    python = home / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            quiet: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
            subprocess.run([uv(), "venv", "--python", sys.executable, str(home)], **quiet)
            subprocess.run([uv(), "pip", "install", "--python", str(python), *requirements], **quiet)
            (home / "complete").touch()
    return python


def sdk(version: str) -> Path:
    """Return an interpreter with one version of the vendor's SDK, unmodified."""
    return environment(f"runta-sdk-{version}", f"runta-sdk=={version}")


def run_script(
    python: Path,
    script: str,
    url: str,
    token: str,
    *,
    options: Mapping[str, object] | None = None,
    timeout: float = 100,
) -> Any:
    """Run one of our scripts in an environment and return the JSON document that it prints last."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(CACHE)}
    process = subprocess.run(
        [str(python), str(SCRIPTS / script), json.dumps(dict(options or {}))],
        env={**kept, "RUNTA_ENDPOINT": url, "RUNTA_TOKEN": token, "RUNTA_CONFIG": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=SCRIPTS,
    )
    assert process.returncode == 0, (
        f"{script} ended with {process.returncode}\n{process.stdout}\n{process.stderr}"
    )
    return json.loads(process.stdout.splitlines()[-1])
