"""One process that serves: uvicorn around the gateway's ASGI app, on a socket that the parent has bound."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tollway.cli.binding import BACKLOG
from tollway.cli.flags import GRACEFUL_STOP_S_MAX, Flags
from tollway.cli.reloading import Reloading


def serve_app(
    app: Any,
    sock: socket.socket,
    flags: Flags,
    *,
    on_started: Callable[[], None] = lambda: None,
    reloading: Reloading | None = None,
    before_serving: Callable[[GatewayServer], None] = lambda server: None,
) -> int:
    """Serves until SIGTERM or SIGINT, then lets calls in flight end for at most GRACEFUL_STOP_S_MAX; a second SIGINT
    does not wait. `reloading` is asked on each SIGHUP, and watches meanwhile. Returns the exit code."""
    server = GatewayServer(uvicorn_config(app, flags), on_started=on_started, reloading=reloading)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    before_serving(server)
    try:
        server.run(sockets=[sock])
    except SystemExit:  # uvicorn's way to say that the app did not come up; it has logged why
        return 1
    return 0


def uvicorn_config(app: Any, flags: Flags) -> uvicorn.Config:
    from tollway.downstream.http import bounded_http
    from tollway.downstream.line import Hot
    from tollway.downstream.websocket import MESSAGE_BYTES_MAX, websocket_protocol

    return uvicorn.Config(
        app,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=bounded_http(app.bounds, getattr(app, "hot", Hot())),
        ws=websocket_protocol,  # type: ignore[arg-type]  # it is only called
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,  # sound is compressed already, and what is small is not worth the memory
        interface="asgi3",
        lifespan="on",
        access_log=False,
        log_config=flags.log_config,
        log_level="warning",
        server_header=False,
        date_header=True,
        # The caller's address is the connection's: a layer that believes headers costs each call and can be lied to.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=flags.keepalive_s,
        timeout_graceful_shutdown=GRACEFUL_STOP_S_MAX,
        limit_concurrency=flags.concurrency_max,
        limit_max_requests=flags.requests_max,
        limit_max_requests_jitter=flags.requests_jitter,
        ssl_keyfile=flags.ssl_keyfile_path,
        ssl_certfile=flags.ssl_certfile_path,
        ssl_ciphers=flags.ssl_ciphers,
    )


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which tells when it listens, takes SIGHUP, and ends without raising the signal once more."""

    def __init__(self, config: uvicorn.Config, *, on_started: Callable[[], None], reloading: Reloading | None) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._reloading = reloading
        self._hung_up: asyncio.Task[bool] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._reloading is not None:
            if hasattr(signal, "SIGHUP"):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up, self._reloading)
            self._watching = asyncio.ensure_future(self._reloading.watch())
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in (self._watching, self._hung_up):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # `serve_app` has set the handlers, before the app came up. uvicorn would raise the signal again at the end,
        # and a stop that was asked for would look like a crash.
        yield

    def _hang_up(self, reloading: Reloading) -> None:
        if self._hung_up is None or self._hung_up.done():
            self._hung_up = asyncio.ensure_future(reloading.reload())
