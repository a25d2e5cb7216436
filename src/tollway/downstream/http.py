"""uvicorn's HTTP protocol as Tollway uses it: what reads from a client is a `ClientConnection`; what is cold comes on to here."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tollway.config.settings import BoundSettings
from tollway.downstream.line import ClientConnection, Headers, Hot, Sweeper, expects_100
from tollway.outbox import Outbox


class BoundedHttp(HttpToolsProtocol):
    """Serves what is not hot, by ASGI. uvicorn knows it as the connection: it counts it, and tells it to shut down."""

    bounds: BoundSettings = BoundSettings()
    hot: Hot = Hot()
    sweeper: Sweeper
    outbox: Outbox
    front: ClientConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self.front = front = ClientConnection(
            self, transport, bounds=self.bounds, hot=self.hot, sweeper=self.sweeper, outbox=self.outbox
        )
        self.parser = front.parser
        self.flow = front.flow  # type: ignore[assignment]  # the same methods
        self.pipeline = front.pipeline
        transport.set_protocol(front)  # type: ignore[arg-type]  # a protocol in all but its base class

    def begin(self, url: bytes, headers: Headers) -> None:
        """The scope that `on_message_begin` of uvicorn would have made, and then as uvicorn goes on."""
        self.on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects_100(headers)
        self.scope["headers"] = headers
        self.cycle = self.front.cycle
        self.on_headers_complete()
        self.front.cycle = self.cycle

    def upgrade(self) -> bool:
        if self._should_upgrade():
            self.handle_websocket_upgrade()
            return True
        self._unsupported_upgrade_warning()
        return False

    def start(self, cycle: Any, app: Any) -> None:
        self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.front.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.front.on_response_complete()

    def shutdown(self) -> None:
        self.cycle = self.front.cycle
        self.outbox.flush()
        super().shutdown()

    def lost(self, exc: Exception | None) -> None:
        self.cycle = None  # type: ignore[assignment]  # whoever waits is told by the front
        self.connection_lost(exc)
        del self.front  # the two hold each other


def bounded_http(bounds: BoundSettings, hot: Hot) -> type[BoundedHttp]:
    """The protocol class to hand to `uvicorn.Config(http=...)`: one for a server, with bounds and a sweep of its own."""
    return type("BoundedHttp", (BoundedHttp,), {"bounds": bounds, "hot": hot, "sweeper": Sweeper(), "outbox": Outbox()})
