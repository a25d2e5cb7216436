"""A gateway on a port of its own that dies where it is told to: `python dying_gateway.py FOLDER STEP TIMES`.

It says its port on stdout. STEP names a place between two writes; when that is reached for the TIMES-th time, the process is gone
at once, as if it had been killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from tollway.downstream.http import bounded_http
from tollway.downstream.line import DirectLine
from tollway.ledger import journal
from tollway.ledger.journal import Journal
from tollway.ledger.ledger import Ledger
from tollway.outbox import Outbox
from tollway.storage import open_storage
from tollway.storage.sql import SqlSpendStore
from tollway.testing.gateway import SmallGateway, chat_reply, chat_stream

KEY = "sk-of-the-dying-gateway"


class Death:
    def __init__(self, step: str, times: int) -> None:
        self.step = step
        self.left = times

    def at(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                os._exit(9)

    def around(self, owner: type, method: str, name: str, *, waits: bool) -> None:
        """Makes `before NAME` and `after NAME` steps of a method."""
        original: Callable[..., Any] = getattr(owner, method)

        async def waiting(*given: Any, **named: Any) -> Any:
            self.at("before " + name)
            result = await original(*given, **named)
            self.at("after " + name)
            return result

        def at_once(*given: Any, **named: Any) -> Any:
            self.at("before " + name)
            result = original(*given, **named)
            self.at("after " + name)
            return result

        setattr(owner, method, waiting if waits else at_once)


async def main(folder: Path, step: str, times: int) -> None:
    death = Death(step, times)
    death.around(Journal, "append", "the journal's write", waits=False)
    death.around(SqlSpendStore, "ingest", "the storage's transaction", waits=True)
    death.around(Ledger, "_drop_before", "old segments go", waits=True)
    death.around(Outbox, "flush", "all that left in a turn", waits=False)
    death.around(DirectLine, "answer", "an answer", waits=True)
    death.around(DirectLine, "end", "a stream's end", waits=True)
    journal.SEGMENT_BYTES_MAX = 20_000
    async with SmallGateway(folder, storage=await open_storage(folder / "tollway.db")) as gateway:
        await gateway.make_key(KEY)
        gateway.upstream.reply_to(
            None, lambda request: chat_stream("a", "b") if request.json().get("stream") else chat_reply()
        )
        assert gateway.app.dispatch is not None
        config = uvicorn.Config(
            gateway.app,
            http=bounded_http(gateway.config.bounds, gateway.app.hot),
            lifespan="off",
            log_config=None,
        )
        sock = socket.create_server(("127.0.0.1", 0))
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        await uvicorn.Server(config).serve([sock])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
