"""The real `terraform` command, unmodified, in folders of its own. Owns how it finds a server; provides no providers."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.server import Server

HOST = "runyard.test"
"""What stands in configurations; the command's own settings say where that is."""
MISSING = "the terraform command is not installed"

needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason=MISSING)


@dataclass(frozen=True)
class Done:
    """How a call of the command ended."""

    code: int
    out: str
    """Both streams, without colours."""

    def ok(self) -> "Done":
        """Assert that it ended well."""
        assert self.code == 0, f"{self.code}\n{self.out}"
        return self


@dataclass
class Terraform:
    """A folder with a configuration, and the command in it."""

    server: Server
    folder: Path
    token: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folder and the settings of the command."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(
            f'host "{HOST}" {{\n  services = {{\n    "tfe.v2" = "{self.server.url}/api/v2/"\n'
            f'    "tfe.v2.1" = "{self.server.url}/api/v2/"\n    "tfe.v2.2" = "{self.server.url}/api/v2/"\n'
            f'    "state.v2" = "{self.server.url}/api/v2/"\n  }}\n}}\n'
            f'credentials "{HOST}" {{\n  token = "{self.token or self.server.token}"\n}}\n'
        )

    @property
    def settings(self) -> Path:
        """Return the command's settings file, beside the folder."""
        return self.folder.with_name(f"{self.folder.name}.tfrc")

    def write(self, *parts: str) -> "Terraform":
        """Write the configuration."""
        (self.folder / "main.tf").write_text("\n".join(parts))
        return self

    def backend_http(self, workspace: str, *, methods: bool = False, query: str = "") -> str:
        """Return a block for the `http` backend; with `methods`, locks by POST and DELETE."""
        base = f"{self.server.url}/terraform/state/{workspace}"
        lock = f"{base}/lock" if methods else base
        more = 'lock_method = "POST"\n    unlock_method = "DELETE"\n' if methods else ""
        return (
            f'terraform {{\n  backend "http" {{\n    address = "{base}{query}"\n    lock_address = "{lock}"\n'
            f'    unlock_address = "{lock}"\n    username = "terraform"\n    {more}  }}\n}}\n'
        )

    @staticmethod
    def backend_remote(workspace: str, organization: str = "default") -> str:
        """Return a block for the `remote` backend."""
        return (
            f'terraform {{\n  backend "remote" {{\n    hostname = "{HOST}"\n    organization = "{organization}"\n'
            f'    workspaces {{ name = "{workspace}" }}\n  }}\n}}\n'
        )

    @staticmethod
    def cloud(workspace: str, organization: str = "default") -> str:
        """Return a `cloud` block."""
        return (
            f'terraform {{\n  cloud {{\n    hostname = "{HOST}"\n    organization = "{organization}"\n'
            f'    workspaces {{ name = "{workspace}" }}\n  }}\n}}\n'
        )

    def __call__(self, *words: str, timeout: float = 90, given: str | None = None) -> Done:
        """Run the command with some words and wait for its end."""
        process = subprocess.run(
            [*self.command(*words)],
            cwd=self.folder,
            env=self.environment(),
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(process.returncode, process.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the command and return its process, with both streams on one pipe."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def command(*words: str) -> list[str]:
        """Return the command line."""
        first = 2 if words[0] in ("state", "workspace") else 1
        return [str(shutil.which("terraform")), *words[:first], "-no-color", *words[first:]]

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TF_CLI_CONFIG_FILE": str(self.settings),
            "TF_HTTP_PASSWORD": self.token or self.server.token,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            **self.variables,
        }


def one_resource(value: str = "one", *, secret: str | None = None) -> str:
    """Return a configuration with a built-in resource and outputs."""
    hidden = "" if secret is None else f'output "hidden" {{\n  value = "{secret}"\n  sensitive = true\n}}\n'
    return (
        f'resource "terraform_data" "a" {{\n  input = "{value}"\n}}\n'
        f'output "shown" {{\n  value = terraform_data.a.output\n}}\n{hidden}'
    )
