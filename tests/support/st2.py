"""The vendor's `st2` command, unmodified, in an environment of its own. Owns its installation and its calls."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.commands import Done
from tests.support.sdk import environment
from tests.support.server import Server


@dataclass(frozen=True)
class St2:
    """The command, pointed at a server."""

    server: Server
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, timeout: float = 60) -> Done:
        """Run the command with some words and wait for its end."""
        process = subprocess.run(
            [str(executable()), *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done.of(process)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command."""
        url = self.server.url
        fixed = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "ST2_API_URL": f"{url}/v1",
            "ST2_AUTH_URL": url,
            "ST2_STREAM_URL": f"{url}/v1",
            "ST2_CLI_SKIP_CONFIG": "1",
            "COLUMNS": "200",
        }
        credential = {} if "ST2_API_KEY" in self.variables else {"ST2_AUTH_TOKEN": self.server.token}
        return {**fixed, **credential, **self.variables}

    def run(self, action: str, *parameters: str, code: int = 0) -> dict[str, Any]:
        """Run an action to its end and return the execution."""
        done = self("run", action, *parameters, "-j")
        assert done.code == code, f"{done.code}\n{done.out}\n{done.err}"
        found: dict[str, Any] = json.loads(done.out[done.out.index("{") :])
        return found


def executable() -> Path:
    """Return the command; it is installed at the first call. Python 3.13 took a module away that it needs."""
    return environment("st2client-3.9.0", "st2client==3.9.0").parent / "st2"
