"""The connection to the kernel of the servers that samviz starts."""

import pytest

channels = pytest.importorskip("jupyter_server.services.kernels.connection.channels")


def test_a_connection_sends_each_message_at_once(monkeypatch):
    from samviz.server import PromptConnection

    called = []
    monkeypatch.setattr(channels.ZMQChannelsWebsocketConnection, "connect", lambda self: called.append("connected"))

    class Handler:
        def set_nodelay(self, value):
            called.append(value)

    connection = PromptConnection.__new__(PromptConnection)
    connection._trait_values["websocket_handler"] = Handler()
    connection.connect()
    assert called == [True, "connected"]
