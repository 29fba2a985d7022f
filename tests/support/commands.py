"""What a call of a vendor's command line left. Owns no installation."""

import json
import re
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Done:
    """How a call of a command ended."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, process: "CompletedProcess[str]") -> "Done":
        """Take what a process printed, without colours."""
        return cls(process.returncode, _COLOURS.sub("", process.stdout), _COLOURS.sub("", process.stderr))

    def json(self) -> Any:
        """Parse what it printed."""
        return json.loads(self.out)

    def ok(self) -> "Done":
        """Assert that it ended well."""
        assert self.code == 0, f"{self.code}\n{self.out}\n{self.err}"
        return self
