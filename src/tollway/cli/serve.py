"""From flags to a gateway that serves: bind, prepare, start what runs once, serve, announce."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tollway.cli.announce import announcement
from tollway.cli.binding import bind, choose_host, url_of
from tollway.cli.flags import Flags, read_config
from tollway.cli.local_models import HoldUntilLoaded, LocalModels, finder, local_names
from tollway.cli.logs import set_up_logs
from tollway.cli.reloading import Reloading, read_again

if TYPE_CHECKING:
    from tollway.app import Prepared

log = logging.getLogger("tollway")


#: Told the gateway's address and its master key when it serves; may take its time.
Greet = Callable[[str, str], None]


def serve(flags: Flags, warnings: Sequence[str] = (), *, greet: Greet | None = None) -> int:
    """Serves until it is told to stop; returns the exit code. Raises Refused when it cannot start.

    One worker is this very process. With more, this process only looks after them.
    """
    config = read_config(flags)
    set_up_logs(config.logs)
    host = choose_host(config.listen.host, config.access)
    # Before anything is written: whoever holds the port may hold the data file, too.
    sock = bind(host, config.listen.port)
    try:
        from tollway.app import prepare

        prepared = prepare(config)
        local = LocalModels(local_names(prepared.config), say=log.warning)
        local.start()
        try:
            return _serve_prepared(prepared, local, sock, flags, host=host, warnings=warnings, greet=greet)
        finally:
            local.stop()
    finally:
        sock.close()


def prepare_only(flags: Flags) -> int:
    """Brings data folder and tables up to date, and serves nothing."""
    import asyncio

    from tollway.app import create_app, prepare

    config = read_config(flags)
    set_up_logs(config.logs)
    prepared = prepare(config)

    async def open_and_close() -> None:
        app = create_app(prepared.config)
        await app.open()
        await app.close()

    asyncio.run(open_and_close())
    sys.stdout.write(f"{prepared.data_path} is up to date\n")
    return 0


def _serve_prepared(
    prepared: Prepared,
    local: LocalModels,
    sock: socket.socket,
    flags: Flags,
    *,
    host: str,
    warnings: Sequence[str],
    greet: Greet | None,
) -> int:
    port: int = sock.getsockname()[1]  # port 0 lets the system choose
    master_key = prepared.config.access.master_key.reveal() if prepared.config.access.master_key else None
    told = [*warnings, *local.problems]

    def announce() -> None:
        tls = flags.ssl_certfile_path is not None
        text = announcement(prepared, host=host, port=port, tls=tls, warnings=told, greeted=greet is not None)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if greet is not None and master_key is not None:
            # It asks this very gateway, so it must not keep the gateway from answering.
            threading.Thread(target=greet, args=(url_of(host, port, tls=tls), master_key), daemon=True).start()

    # A worker that is to be replaced after so many calls needs somebody who replaces it.
    if flags.workers > 1 or flags.requests_max:
        import asyncio

        from tollway.app import take_over_the_dead
        from tollway.cli.workers import Workers

        workers = Workers(
            sock,
            flags,
            master_key=master_key,
            local=local.addresses,
            take_over_the_dead=partial(take_over_the_dead, prepared.config),
            say=log.warning,
        )
        return asyncio.run(workers.run(announce))

    from tollway.app import WorkerPlace, create_app
    from tollway.cli.server import serve_app

    app = create_app(prepared.config, worker=WorkerPlace(0, 1), local=finder(local.addresses))

    return serve_app(
        HoldUntilLoaded(app, local.addresses) if local.addresses else app,
        sock,
        flags,
        on_started=announce,
        reloading=Reloading(app, partial(read_again, flags, master_key, sock)),
    )
