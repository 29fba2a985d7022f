"""A helper process of the server's own code that works on what strangers wrote. Owns its start, its line and its end.

Blocking: use it in a thread. Requests and answers are lines of JSON. While a request is worked on, the helper writes where
it is into a page of shared memory, so that after a crash or an endless loop the server knows what it was busy with.
"""

import contextlib
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import time
from typing import Final, Self

from runyard.kernel.errors import Unavailable
from runyard.kernel.jsons import encode_json

POSITION: Final = struct.Struct("=qq")
"""What a helper writes at the begin of its page: two numbers of its own meaning."""
_PAGE: Final = 4096
_READ: Final = 1 << 16
_LOOK_SECONDS: Final = 0.05


class HelperEnded(Unavailable):
    """The helper process ended, or had to be ended."""

    code = "helper_ended"

    def __init__(self, reason: str, position: tuple[int, int]) -> None:
        """Carry what it was busy with."""
        super().__init__(reason)
        self.position = position


class Helper:
    """One running helper. Use as a context manager: leaving it ends the process."""

    def __init__(self, module: str, answer_bytes: int = 16 << 20) -> None:
        """Start `python -m module FD`, where FD is its page. Nothing of the server's environment is inherited."""
        self._answer_bytes = answer_bytes
        page = os.memfd_create("runyard-helper", os.MFD_CLOEXEC)
        try:
            os.ftruncate(page, _PAGE)
            self._page = mmap.mmap(page, _PAGE)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-m", module, str(page)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8"},
                pass_fds=(page,),
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(page)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process and wait for it; idempotent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # What is buffered is nobody's any more.
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def ask(self, request: object, *, step_seconds: float, deadline: float) -> bytes:
        """Send a request and return the line that answers it. `step_seconds` is how long the helper may stay at one
        position, `deadline` is on the monotonic clock. Raises HelperEnded.
        """
        left = memoryview(encode_json(request) + b"\n")
        answer = bytearray()
        position, since = self._position(), time.monotonic()
        while True:
            readable, writable, _ = select.select([self._from], [self._to] if left else [], [], _LOOK_SECONDS)
            if writable:
                left = left[self._write(left) :]
            if readable:
                part = os.read(self._from, _READ)
                answer += part
                if not part:
                    raise self._ended(self._why())
                if answer.endswith(b"\n"):
                    return bytes(answer)
                if len(answer) > self._answer_bytes:
                    raise self._ended("it answered too much")
            now = time.monotonic()
            if self._position() != position:
                position, since = self._position(), now
            if now > deadline:
                raise self._ended("the time for all is over")
            if now - since > step_seconds:
                raise self._ended(f"it took longer than {step_seconds:g} seconds")

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._to, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise self._ended(self._why()) from None

    def _position(self) -> tuple[int, int]:
        first, second = POSITION.unpack_from(self._page, 0)
        return first, second

    def _why(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return "it used too much processor time"
        return f"it crashed ({signal.Signals(-code).name})" if code < 0 else "it crashed"

    def _ended(self, reason: str) -> HelperEnded:
        position = self._position()
        self.close()
        return HelperEnded(reason, position)
