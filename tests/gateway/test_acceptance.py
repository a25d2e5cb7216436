"""The promise: what a key may spend, it never overspends, however many calls come at once."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tollway.testing import FakeReply
from tollway.testing.gateway import SmallGateway, chat_reply, chat_stream, model_entry
from tollway.testing.upstream import FakeUpstream

CALLS = 200
BUDGET_NANO = 10_000_000  # a cent
CALL_NANO = 1_000_000


class Unhurried(FakeUpstream):
    """Answers after some turns of the loop, so that calls really run side by side."""

    random = Random(7)

    async def send(self, request: Any, deadlines: Any) -> Any:
        for _ in range(self.random.randrange(1, 8)):
            await asyncio.sleep(0)
        return await super().send(request, deadlines)


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("limit", [{"max_tokens": 250}, {}], ids=["limited", "unlimited"])
@pytest.mark.parametrize("input_price", ["0", "0.000001"], ids=["free input", "priced input"])
async def test_of_200_calls_at_once_a_key_with_one_cent_gets_as_many_as_a_cent_pays_for(
    tmp_path: Path, streaming: bool, limit: dict[str, int], input_price: str
) -> None:
    prices = {"input_cost_per_token": input_price, "output_cost_per_token": "0.000004"}
    async with SmallGateway(tmp_path, [model_entry(prices=prices)], upstream=Unhurried()) as gateway:
        key = await gateway.make_key(max_budget_nano=BUDGET_NANO)
        # 10 tokens in and 250 or 247 out make a tenth of a cent at either price, or a little less.
        tokens = 250 if input_price == "0" else 247
        gateway.upstream.reply_to(
            None, chat_stream("a", "b", output_tokens=tokens) if streaming else chat_reply(output_tokens=tokens)
        )
        account = gateway.account(key)
        watching = asyncio.create_task(_never_more_than_the_limit(account))
        exchanges = [gateway.begin(key=key, stream=streaming, **limit) for _ in range(CALLS)]
        answers = [await exchange.done() for exchange in exchanges]
        watching.cancel()

        statuses = [answer.status for answer in answers]
        assert statuses.count(200) in (9, 10)
        assert statuses.count(422) == CALLS - statuses.count(200)
        assert account.held == 0
        assert account.spent <= BUDGET_NANO
        refused = next(answer for answer in answers if answer.status == 422).json()["error"]
        assert refused["type"] == "budget_exceeded"
        assert refused["code"] == "422"
        assert re.match(
            r"Budget has been exceeded! Key= \(sk-\.\.\.eway\) Current cost: 0\.0\d+, Max budget: 0\.01",
            refused["message"],
        )
        records = await gateway.records()
        assert len(records) == CALLS
        assert sum(record.cost.total for record in records) == account.spent
        assert not any(record.over_hold for record in records)
        stored = await gateway.storage.keys.load_all()
        assert stored[0].spend_nano == account.spent


async def _never_more_than_the_limit(account: Any) -> None:
    while True:
        assert account.spent + account.held <= account.limit
        await asyncio.sleep(0)


async def test_what_a_provider_bills_above_the_lowered_limit_is_charged_in_full_and_flagged(
    gateway: SmallGateway,
) -> None:
    key = await gateway.make_key(max_budget_nano=BUDGET_NANO)
    gateway.upstream.reply_to(None, chat_reply(output_tokens=9_000))
    answer = await gateway.ask(key=key)
    sent = gateway.upstream.requests[0].json()
    assert sent["max_tokens"] == 2_500
    assert answer.headers["x-tollway-output-limit"] == "2500"
    (record,) = await gateway.records()
    assert record.cost.total == 36_000_000
    assert record.held_nano == BUDGET_NANO
    assert record.over_hold
    assert gateway.account(key).spent == 36_000_000
    assert gateway.account(key).held == 0
    assert (await gateway.ask(key=key)).status == 422


async def test_a_call_that_asks_for_more_than_is_left_is_sent_with_what_is_left(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=BUDGET_NANO)
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key, max_completion_tokens=64_000)).status == 200
    assert gateway.upstream.requests[0].json()["max_completion_tokens"] == 2_500
    assert (await gateway.ask(key=key, max_completion_tokens=100)).status == 200
    assert gateway.upstream.requests[1].json()["max_completion_tokens"] == 100


async def test_a_call_of_which_nothing_is_known_when_it_fails_gives_its_whole_hold_back(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=BUDGET_NANO)
    gateway.upstream.reply_to(None, FakeReply.json({"error": {"message": "no", "code": "x"}}, status=400))
    for _ in range(20):
        assert (await gateway.ask(key=key)).status == 400
    assert gateway.account(key).held == gateway.account(key).spent == 0
