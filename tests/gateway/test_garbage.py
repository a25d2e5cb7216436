"""A call that is answered is freed as it ends. One that holds itself waits for the collector: a tenth of all CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Call, Reply
from tollway.testing.gateway import DONE, SmallGateway, chat_event, chat_reply
from tollway.testing.upstream import FakeReply

ANSWERS = {
    "whole": (chat_reply(), {}),
    "stream": (
        FakeReply.stream(chat_event("Hello"), chat_event(finish="stop"), chat_event(output_tokens=1), DONE),
        {"stream": True},
    ),
}


@pytest.fixture
def left_to_the_collector() -> Iterator[list[Any]]:
    """What it finds, from here on."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_call_that_was_answered_holds_nothing_of_itself(
    tmp_path: Path, left_to_the_collector: list[Any], kind: str
) -> None:
    reply, asked = ANSWERS[kind]
    async with SmallGateway(tmp_path) as gateway:
        key = await gateway.make_key(max_budget_nano=10**9, rpm_limit=100)
        gateway.upstream.reply_to(None, reply)
        for _ in range(3):
            await gateway.ask(key=key, **asked)
        gc.collect()
        found = [one for one in left_to_the_collector if isinstance(one, (Call, Reply))]
        assert found == []
