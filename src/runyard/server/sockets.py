"""uvicorn's WebSocket protocol with a refused handshake that ends in peace. Owns nothing of what is refused or why."""

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class Socket(WebSocketsSansIOProtocol):
    """One connection that asked for an upgrade."""

    async def send(self, message: "ASGISendEvent") -> None:
        """Pass a message of the application on. Raises an OSError when the client is gone.

        uvicorn takes a refusal (`websocket.http.response.*`) for complete only when the connection is lost, which comes
        after the application has returned, and so logs an error for an application that did nothing wrong.
        """
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True
