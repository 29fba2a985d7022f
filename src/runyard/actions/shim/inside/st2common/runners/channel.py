"""The line to the server. Owns the framing: one JSON object a line, one call at a time."""

import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import BinaryIO

from st2common.values import Json

VARIABLE = "RUNYARD_CHANNEL"


class CallRefused(RuntimeError):
    """The server did not do what the action asked for."""


class Channel:
    """Carries calls to the server and their answers; safe for threads."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """Use two ends of the line."""
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()
        self._last = 0

    @classmethod
    def open(cls) -> "Channel":
        """Open the line that the environment names, and take the name out so that children do not use it."""
        kind, _, where = os.environ.pop(VARIABLE, "").partition(":")
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(where)
            return cls(connection.makefile("rb"), connection.makefile("wb"))
        if kind in ("fd", "fds"):
            numbers = [int(number) for number in where.split(",")]
            for number in numbers:
                os.set_inheritable(number, False)
            return cls(
                os.fdopen(numbers[0], "rb", closefd=False), os.fdopen(numbers[-1], "wb", closefd=False)
            )
        raise RuntimeError(f"{VARIABLE} does not say how to reach the server")

    def receive(self) -> dict[str, Json]:
        """Return the next frame. Raises EOFError when the server is gone."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the server closed the line")
        frame: dict[str, Json] = json.loads(line)
        return frame

    def send(self, frame: Mapping[str, Json]) -> None:
        """Send a frame."""
        self._writer.write(json.dumps(frame).encode() + b"\n")
        self._writer.flush()

    def call(self, name: str, /, **arguments: Json) -> Json:
        """Ask the server for something and return it. Raises CallRefused with its reason."""
        with self._lock:
            self._last += 1
            self.send({"id": self._last, "call": name, "arguments": arguments})
            answer = self.receive()
        if answer.get("id") != self._last:
            raise CallRefused("the server answered another call")
        if "error" in answer:
            raise CallRefused(str(answer["error"]))
        return answer.get("value")
