"""From flags to a gateway that serves: bind, prepare, start what runs once, serve, announce."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tollway.cli.announce import announcement
from tollway.cli.binding import bind, choose_host
from tollway.cli.flags import Flags, read_config, with_master_key
from tollway.cli.local_models import HoldUntilLoaded, LocalModels, finder, local_names
from tollway.cli.logs import set_up_logs

if TYPE_CHECKING:
    from tollway.app import Prepared

log = logging.getLogger("tollway")


def serve(flags: Flags, warnings: Sequence[str] = ()) -> int:
    """Serves until it is told to stop; returns the exit code. Raises Refused when it cannot start.

    One worker is this very process. With more, this process only looks after them.
    """
    config = read_config(flags)
    set_up_logs(config.logs)
    host = choose_host(flags.host, config.access)
    # Before anything is written: whoever holds the port may hold the data file, too.
    sock = bind(host, flags.port)
    try:
        from tollway.app import prepare

        prepared = prepare(config)
        local = LocalModels(local_names(prepared.config), say=log.warning)
        local.start()
        try:
            return _serve_prepared(prepared, local, sock, flags, host=host, warnings=warnings)
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
    prepared: Prepared, local: LocalModels, sock: socket.socket, flags: Flags, *, host: str, warnings: Sequence[str]
) -> int:
    port: int = sock.getsockname()[1]  # port 0 lets the system choose
    master_key = prepared.config.access.master_key.reveal() if prepared.config.access.master_key else None
    told = [*warnings, *local.problems]

    def announce() -> None:
        tls = flags.ssl_certfile_path is not None
        sys.stdout.write(announcement(prepared, host=host, port=port, tls=tls, warnings=told) + "\n")
        sys.stdout.flush()

    # A worker that is to be replaced after so many calls needs somebody who replaces it.
    if flags.workers > 1 or flags.requests_max:
        import asyncio
        from functools import partial

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

    async def reload() -> None:
        await app.reload(with_master_key(read_config(flags), master_key))

    return serve_app(
        HoldUntilLoaded(app, local.addresses) if local.addresses else app,
        sock,
        flags,
        on_started=announce,
        on_hangup=reload,
    )
