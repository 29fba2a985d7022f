"""HTTP/1.1 on one connection: uvicorn's protocol with a bound on the head of a request.

Owns that bound alone; the bounds of bodies are the application's.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
"""Request line and headers together; the parser itself would take any amount and keep it in memory."""
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 32\r\nConnection: close\r\n\r\nThe request headers are too long"
)


class BoundedHeadProtocol(HttpToolsProtocol):
    """Cuts off whoever sends headers without end."""

    _head_bytes = 0
    _in_head = True

    def on_message_begin(self) -> None:
        """Count anew: another request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is the body."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and end the connection when its head has grown too long."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()
