"""What a caller asks to be run, and what comes of it. Frozen values, their validation, and the text of output; pure."""

import codecs
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId
from runyard.runtimes.options import ExecOptions

ARGUMENT_BYTES = 131_071
"""The kernel's own limit of one argument or variable (MAX_ARG_STRLEN), without its final NUL."""
ARGUMENTS_BYTES = 1_900_000
"""Of all arguments and variables together; the kernel allows 2 MiB with its own bookkeeping."""
CWD_BYTES = 4095


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from, for the ledger."""

    door: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command: a program with arguments, or a script for `/bin/sh -c`."""

    argv: Sequence[str] = ()
    script: str | None = None
    cwd: str | None = None
    """None means the home folder."""
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    timeout_secs: int | None = None
    """None and 0 mean the server's default."""
    max_output_bytes: int | None = None
    """Bytes kept of each stream for the caller; None means the server's default."""

    def validate(self, options: ExecOptions) -> None:
        """Check everything that can be known before the command is started. Raises InvalidArgument."""
        words = (self.script,) if self.script is not None else tuple(self.argv)
        if not words or not words[0]:
            raise InvalidArgument("command must not be empty")
        check_words(words, self.env)
        if self.cwd is not None and (not self.cwd or "\0" in self.cwd or len(self.cwd.encode()) > CWD_BYTES):
            raise InvalidArgument("cwd must be a path without NUL")
        if self.stdin is not None and len(self.stdin) > options.max_stdin_bytes:
            raise InvalidArgument(f"stdin exceeds {options.max_stdin_bytes} bytes")
        _at_most("timeout_secs", self.timeout_secs, options.max_timeout_secs)
        _at_most("max_output_bytes", self.max_output_bytes, options.max_output_bytes)

    @property
    def program(self) -> Sequence[str]:
        """Return what is executed."""
        return ("/bin/sh", "-c", self.script) if self.script is not None else self.argv

    @property
    def display(self) -> str:
        """Return the command as people write it."""
        return self.script if self.script is not None else shlex.join(self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How a command ended, for its caller; bytes as they were written."""

    execution_id: ExecutionId
    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    duration_ms: int


def check_words(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Check that the kernel would take these arguments and variables. Raises InvalidArgument."""
    total = 0
    for word in words:
        total += _size("an argument", word)
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or any(char.isspace() for char in name):
            raise InvalidArgument(f"environment variable name {name[:40]!r} is not valid")
        total += _size(f"the environment variable {name[:40]}", value) + len(name) + 1
    if total > ARGUMENTS_BYTES:
        raise InvalidArgument(f"arguments and environment exceed {ARGUMENTS_BYTES} bytes")


def _size(what: str, text: str) -> int:
    if "\0" in text:
        raise InvalidArgument(f"{what} must not contain NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} must be valid Unicode") from None
    if size > ARGUMENT_BYTES:
        raise InvalidArgument(f"{what} exceeds {ARGUMENT_BYTES} bytes")
    return size


def _at_most(what: str, value: int | None, maximum: int) -> None:
    if value is not None and not 0 <= value <= maximum:
        raise InvalidArgument(f"{what} must be 0 to {maximum}")


def text_of(data: bytes, *, cut: bool) -> str:
    """Decode output as UTF-8 with replacement characters. Where the output was `cut`, a character that the cut halved
    is dropped rather than replaced.
    """
    if not cut:
        return data.decode("utf-8", "replace")
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data, False)
