"""A client so light that it hardly shows in the figures. Owns raw keep-alive sockets; understands content lengths only."""

import json
import selectors
import socket
import time
from collections.abc import Mapping

MARK = b"content-length:"


def request(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Build the bytes of a request once."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(payload)}"]
    if body is not None:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


def complete(data: bytes | bytearray) -> int | None:
    """Return where the body of a whole answer begins, or None while some of it is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    at = head.find(MARK)
    if at < 0:
        done = head.find(b"chunked") < 0 or data.endswith(b"0\r\n\r\n")
        return end + 4 if done else None
    length = int(head[at + len(MARK) :].split(b"\r\n", 1)[0])
    return end + 4 if len(data) >= end + 4 + length else None


class Line:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        """Connect to a loopback port."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, sent: bytes) -> bytes:
        """Send a request and return the whole answer. Raises RuntimeError for anything but a 2xx."""
        self.socket.sendall(sent)
        data = bytearray()
        while complete(data) is None:
            chunk = self.socket.recv(262_144)
            if not chunk:
                raise RuntimeError(f"the connection ended after {bytes(data[:200])!r}")
            data += chunk
        if data[9:10] != b"2":
            raise RuntimeError(bytes(data[:600]).decode("utf-8", "replace"))
        return bytes(data)

    def json(self, sent: bytes) -> object:
        """Send a request and return the parsed body."""
        data = self.call(sent)
        return json.loads(data[complete(data) :])

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def load(port: int, sent: bytes, concurrency: int, seconds: float) -> float:
    """Keep a number of requests under way for a time and return the answers per second."""
    selector = selectors.DefaultSelector()
    lines = [Line(port) for _ in range(concurrency)]
    buffers = {line.socket.fileno(): bytearray() for line in lines}
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ)
        line.socket.sendall(sent)
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        for key, _ in selector.select(1):
            channel = key.fileobj
            assert isinstance(channel, socket.socket)
            buffer = buffers[key.fd]
            buffer += channel.recv(65_536)
            if complete(buffer) is None:
                continue
            if buffer[9:10] != b"2":
                raise RuntimeError(bytes(buffer[:600]).decode("utf-8", "replace"))
            buffer.clear()
            done += 1
            channel.sendall(sent)
    rate = done / (now - began)
    selector.close()
    for line in lines:
        line.close()
    return rate
