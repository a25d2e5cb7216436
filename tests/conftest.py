"""What every room's tests stand on: a blocked event loop fails the test, and a small gateway is at hand."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

# Whatever is compiled in this checkout, tests are of the Python, unless they are told otherwise (`make test-compiled`).
os.environ.setdefault("TOLLWAY_COMPILED", "0")

# What a shell starts in the background ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from tollway.compiled import is_compiled
from tollway.testing.gateway import SmallGateway
from tollway.testing.redis import RedisServer

COMPILED = is_compiled()

# Machines that run tests are busy: how long an example takes says nothing of it.
settings.register_profile("tollway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tollway")

#: Before and after all calls the gateway may block: it opens files, reads the catalog, makes the management API.
OPENING = (
    ("tollway/app.py", ("__init__", "open", "close", "prepare", "_management")),
    ("tollway/ledger/ledger.py", ("open", "close", "take_over_the_dead")),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not COMPILED:
        return
    for item in items:
        if item.get_closest_marker("pure") is not None:
            item.add_marker(
                pytest.mark.skip(reason="puts another method into a class, which compiled code does not ask")
            )


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    function = getattr(request.node, "obj", None)
    # Who blocks is told by the stack, in which compiled functions do not stand.
    if COMPILED or not inspect.iscoroutinefunction(function) or request.node.get_closest_marker("e2e"):
        yield
        return
    with blockbuster_ctx("tollway", excluded_modules=["tollway.testing", "tollway.cli"]) as watch:
        for watched in watch.functions.values():
            for file, functions in OPENING:
                watched.can_block_in(file, functions)
        # The one blocking call of the request path (and `os.ftruncate` after a failed one, which nobody watches).
        watch.functions["os.write"].can_block_in("tollway/ledger/journal.py", ("append",))
        yield


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    """One model, `small`, of which 250 tokens of output cost a tenth of a cent."""
    async with SmallGateway(tmp_path) as small:
        yield small


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A real Redis, empty."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()
