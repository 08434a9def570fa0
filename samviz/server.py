"""The connection between a page and its kernel in the servers that `samviz lab` and `samviz app` start."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """A connection that sends each message at once.

    Otherwise the server holds a picture back until the page's computer has acknowledged the message before it (Nagle's
    algorithm), which takes up to 40 ms.
    """

    def connect(self) -> Any:
        """Open the connection."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
