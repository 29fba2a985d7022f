"""Git repositories for tests, made with the real git and without any configuration of this host."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.test",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.test",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with a working tree."""

    folder: Path

    @property
    def url(self) -> str:
        """Return its address as a file URL."""
        return f"file://{self.folder}"

    def git(self, *arguments: str, given: str = "") -> str:
        """Run git in it, with some input, and return what it prints."""
        done = subprocess.run(
            ["git", "-C", self.folder, *arguments],
            env=_ENVIRONMENT,
            input=given,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, title: str, files: Mapping[str, str | None]) -> str:
        """Write files (None removes one), commit everything and return the commit."""
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", title)
        return self.head()

    def head(self) -> str:
        """Return the newest commit."""
        return self.git("rev-parse", "HEAD")


def make_repository(folder: Path) -> Repository:
    """Make an empty repository with the branch `main`."""
    folder.mkdir(parents=True)
    made = Repository(folder)
    made.git("init", "--quiet", "--initial-branch=main")
    return made
