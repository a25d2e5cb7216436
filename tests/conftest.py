"""What every room's tests stand on: a blocked event loop fails the test, and a small gateway is at hand."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tollway.testing.gateway import SmallGateway

#: The one blocking call of the request path, and what opening and closing do before and after all calls.
MAY_BLOCK = (
    ("os.write", "tollway/ledger/journal.py", ("append",)),
    *(
        (call, f"tollway/{file}", functions)
        for call in ("os.mkdir", "os.stat", "os.scandir", "os.listdir", "os.rename", "os.replace", "os.unlink", "io.*")
        for file, functions in (
            ("app.py", ("open", "close", "prepare", "_standing_key", "data_folder")),
            ("ledger/journal.py", ("open", "left_behind", "forget", "close", "drop_before")),
        )
    ),
)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    function = getattr(request.node, "obj", None)
    if not inspect.iscoroutinefunction(function) or request.node.get_closest_marker("e2e"):
        yield
        return
    with blockbuster_ctx("tollway", excluded_modules=["tollway.testing", "tollway.admin"]) as watch:
        for call, file, functions in MAY_BLOCK:
            for name, watched in watch.functions.items():
                if name == call or (call.endswith(".*") and name.startswith(call[:-1])):
                    watched.can_block_in(file, functions)
        yield


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    """One model, `small`, of which 250 tokens of output cost a tenth of a cent."""
    async with SmallGateway(tmp_path) as small:
        yield small
