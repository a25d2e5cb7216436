"""A worker of several: `python -m tollway.cli.worker`, started by `workers.py` and by nobody else.

Its settings come as one JSON line on stdin. It says one byte on the ready descriptor once it listens, and ends when its
stdin closes: a parent that is killed outright leaves no worker behind.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from tollway.cli.flags import Flags, read_config, with_master_key
from tollway.cli.local_models import HoldUntilLoaded, LocalAddress, finder
from tollway.cli.reloading import Reloading, read_again
from tollway.cli.shares import SharesOfParent

if TYPE_CHECKING:
    from tollway.cli.server import GatewayServer

#: How long calls in flight may still run once the parent is gone.
ORPHAN_S_MAX = 1.0

#: Read without Python's buffers: a thread that waits in one of them spoils the interpreter's end.
STDIN = 0


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker is told. It travels through a pipe and is written nowhere: it holds the master key and tokens."""

    flags: Flags
    index: int
    count: int
    socket_fd: int
    ready_fd: int
    shares_fd: int
    master_key: str | None
    local: dict[str, LocalAddress]


def main() -> int:
    """Serves until SIGTERM or until the parent is gone."""
    settings = msgspec.json.decode(_first_line(), type=WorkerSettings)
    from tollway.app import WorkerPlace, create_app
    from tollway.cli.logs import set_up_logs
    from tollway.cli.server import serve_app

    config = with_master_key(read_config(settings.flags), settings.master_key)
    set_up_logs(config.logs)
    app = create_app(
        config,
        worker=WorkerPlace(settings.index, settings.count),
        local=finder(settings.local),
        lessor=SharesOfParent(settings.shares_fd),
    )

    sock = socket.socket(fileno=settings.socket_fd)
    return serve_app(
        HoldUntilLoaded(app, settings.local) if settings.local else app,
        sock,
        settings.flags,
        on_started=lambda: _say_ready(settings.ready_fd),
        reloading=Reloading(
            app, partial(read_again, settings.flags, settings.master_key, sock), speaks=settings.index == 0
        ),
        before_serving=_watch_the_parent,
    )


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(STDIN, 65536)):
        line += piece
    if not line:
        raise SystemExit(1)  # the parent is gone already
    return line


def _say_ready(ready_fd: int) -> None:
    os.write(ready_fd, b".")
    os.close(ready_fd)


def _watch_the_parent(server: GatewayServer) -> None:
    # Ctrl-C reaches every process of the terminal; ending is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_stdin() -> None:
        while os.read(STDIN, 4096):
            pass
        server.should_exit = True
        threading.Event().wait(ORPHAN_S_MAX)
        os._exit(1)

    threading.Thread(target=end_with_stdin, name="watch the parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
