"""A loopback TCP proxy that can cut its connections. Owns its sockets and threads; alters no byte."""

import contextlib
import socket
import threading
from typing import Self


class CuttingProxy:
    """Forwards to one port until told to cut."""

    def __init__(self, target_port: int) -> None:
        """Listen on a free loopback port."""
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.accepted = 0
        """Connections taken so far."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        """Use it as a context."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close everything."""
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Reset every open connection on both sides and return how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        return len(pairs)

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._pairs.append((inner, outer))
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
