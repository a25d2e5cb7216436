"""One process that serves: uvicorn around the gateway's ASGI app, on a socket that the parent has bound."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tollway.cli.binding import BACKLOG
from tollway.cli.flags import GRACEFUL_STOP_S_MAX, Flags

log = logging.getLogger("tollway.server")


def serve_app(
    app: Any,
    sock: socket.socket,
    flags: Flags,
    *,
    on_started: Callable[[], None] = lambda: None,
    on_hangup: Callable[[], Any] | None = None,
    before_serving: Callable[[GatewayServer], None] = lambda server: None,
) -> int:
    """Serves until SIGTERM or SIGINT, then lets calls in flight end for at most GRACEFUL_STOP_S_MAX; a second SIGINT
    does not wait. `on_hangup` makes a coroutine for each SIGHUP. Returns the exit code."""
    server = GatewayServer(uvicorn_config(app, flags), on_started=on_started, on_hangup=on_hangup)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    before_serving(server)
    try:
        server.run(sockets=[sock])
    except SystemExit:  # uvicorn's way to say that the app did not come up; it has logged why
        return 1
    return 0


def uvicorn_config(app: Any, flags: Flags) -> uvicorn.Config:
    from tollway.downstream.line import bounded_http

    return uvicorn.Config(
        app,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=bounded_http(app.bounds, getattr(app, "hot", {})),
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

    def __init__(
        self, config: uvicorn.Config, *, on_started: Callable[[], None], on_hangup: Callable[[], Any] | None
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_hangup = on_hangup
        self._reloading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_hangup is not None and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # `serve_app` has set the handlers, before the app came up. uvicorn would raise the signal again at the end,
        # and a stop that was asked for would look like a crash.
        yield

    def _hang_up(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reload())

    async def _reload(self) -> None:
        if self._on_hangup is None:
            return
        try:
            await self._on_hangup()
        except Exception as error:
            # A bad file never replaces a good configuration: say so and go on serving.
            log.error("the configuration was not reloaded: %s", error)
