"""The log's pages, one call whole, the live log, and the overview."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.json import decode

from tollway.admin import LiveSpend
from tollway.admin.border import NANO, us_of
from tollway.admin.dashboard import live, log
from tollway.admin.dashboard.live import LiveLog
from tollway.calls import Cost, Usage, call_id
from tollway.errors import RateLimited
from tollway.ledger.record import AttemptRecord, CallRecord, encode_record
from tollway.storage import GLOBAL_SCOPE

from .conftest import Asking
from .office import MASTER_KEY, FakeOffice

EPOCH = 7
START_US = us_of(datetime(2026, 11, 21, 12, tzinfo=UTC))
SECOND_US = 1_000_000


def record(seq: int, **fields: Any) -> CallRecord:
    started_us = fields.pop("started_us", START_US + seq * SECOND_US)
    plain: dict[str, Any] = {
        "epoch": EPOCH,
        "seq": seq,
        "started_us": started_us,
        "ended_us": started_us + 250_000,
        "first_byte_us": started_us + 100_000,
        "model": "gpt-4o",
        "model_group": "gpt-4o",
        "provider": "openai",
        "provider_model": "openai/gpt-4o",
        "request_id": f"provider-{seq}",
        "usage": Usage(input=100, cache_read=20, output=10),
        "cost": Cost(total=3_000, input=1_000, cache_read=500, output=1_500),
    }
    return CallRecord(**{**plain, **fields})


async def keep(office: FakeOffice, *records: CallRecord) -> None:
    await office.storage.spend.ingest([(one, encode_record(one)) for one in records])


async def pages(ask: Asking, **query: Any) -> list[list[str]]:
    """The ids of every page until the end."""
    found: list[list[str]] = []
    before = None
    while True:
        params = {**query, **({"before": before} if before else {})}
        headers = {"authorization": f"Bearer {MASTER_KEY}"}
        answer = (await ask.client.get("/ui/api/logs", params=params, headers=headers)).json()
        found.append([call["id"] for call in answer["calls"]])
        before = answer["next"]
        if before is None:
            return found


def ids(*sequence: int) -> list[str]:
    return [call_id(EPOCH, seq) for seq in sequence]


async def test_the_newest_calls_come_first_and_each_stands_on_one_page(ask: Asking, office: FakeOffice) -> None:
    await keep(office, *(record(seq) for seq in range(1, 6)))
    assert await pages(ask, limit=2) == [ids(5, 4), ids(3, 2), ids(1)]
    assert await pages(ask, limit=5) == [ids(5, 4, 3, 2, 1)]
    assert await pages(ask) == [ids(5, 4, 3, 2, 1)]


async def test_calls_that_come_meanwhile_move_no_page(ask: Asking, office: FakeOffice) -> None:
    await keep(office, *(record(seq) for seq in range(1, 5)))
    first = (await ask.get("/ui/api/logs", limit=2)).json()
    await keep(office, record(9))
    second = (await ask.get("/ui/api/logs", limit=2, before=first["next"])).json()
    assert [call["id"] for call in second["calls"]] == ids(2, 1)


async def test_calls_of_one_moment_are_all_found(ask: Asking, office: FakeOffice) -> None:
    await keep(office, *(record(seq, started_us=START_US) for seq in range(1, 8)))
    found = [one for page in await pages(ask, limit=2) for one in page]
    assert sorted(found) == sorted(ids(*range(1, 8)))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "failed"}, [3, 2]),
        ({"status": "ok"}, [4, 1]),
        ({"status": "429"}, [3]),
        ({"model": "small"}, [4]),
        ({"tag": "nightly"}, [4, 3]),
        ({"cost_min": "0.001"}, [4]),
        ({"text": "NO ROOM"}, [2]),
        ({"text": "throttling"}, [3]),
        ({"key": "ab" * 32}, [2]),
        ({"key": "litellm_proxy_master_key"}, [4, 3, 1]),
        ({"start": "2026-11-21T12:00:02Z", "end": "2026-11-21T12:00:04+00:00"}, [3, 2]),
        ({"status": "failed", "tag": "nightly"}, [3]),
        ({"tag": "weekly"}, []),
    ],
)
async def test_filters_find_what_they_say(
    ask: Asking, office: FakeOffice, query: dict[str, str], found: list[int]
) -> None:
    await keep(
        office,
        record(1),
        record(2, status_code=400, error_type="budget_exceeded", error_message="No room left", key=b"\xab" * 32),
        record(3, status_code=429, error_type="throttling_error", error_message="Slower", tags=("nightly",)),
        record(4, model="small", model_group="small", tags=("nightly", "x"), cost=Cost(total=NANO // 1000)),
    )
    assert await pages(ask, **query) == [ids(*found)]


async def test_a_search_that_found_too_little_says_where_to_look_on(
    ask: Asking, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SEARCH_S_MAX", -1.0)  # one window for each answer
    old_us = START_US - 6 * 3600 * SECOND_US
    seldom = {"status_code": 500, "error_message": "rare"}
    await keep(office, record(1, started_us=old_us, **seldom), *(record(seq, status_code=500) for seq in range(2, 8)))
    answer = (await ask.get("/ui/api/logs", text="rare")).json()
    assert (answer["calls"], answer["whole"]) == ([], False)
    assert answer["searched_until_ms"] > START_US / 1000
    found = await pages(ask, text="rare")
    assert [one for page in found for one in page] == ids(1)
    assert len(found) > 2


async def test_a_search_passes_over_days_on_which_there_is_nothing(
    ask: Asking, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SEARCH_S_MAX", -1.0)
    month_us = 30 * 24 * 3600 * SECOND_US
    await keep(office, record(1, started_us=START_US - month_us, team_id="t", end_user="e", tags=("x",)), record(2))
    for query in ({"team": "t"}, {"end_user": "e"}, {"tag": "x"}):
        answers = await pages(ask, **query)
        assert [one for page in answers for one in page] == ids(1)
        assert len(answers) < 15  # windows of one day, not of thirty
    assert await pages(ask, team="another") == [[]]


async def test_a_tag_that_stands_in_another_field_is_no_tag(ask: Asking, office: FakeOffice) -> None:
    await keep(office, record(1, tags=("nightly",)), record(2, user_agent="nightly", tags=("other",)))
    assert await pages(ask, tag="nightly") == [ids(1)]


@pytest.mark.parametrize(
    "query",
    [{"before": "x"}, {"before": "1"}, {"start": "soon"}, {"cost_min": "much"}, {"cost_min": "Infinity"}],
)
async def test_what_is_asked_wrongly_is_said(ask: Asking, query: dict[str, str]) -> None:
    answer = await ask.get("/ui/api/logs", **query)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "bad_request_error"


async def test_a_call_is_shown_whole(ask: Asking, office: FakeOffice) -> None:
    await keep(
        office,
        record(
            1,
            attempts=(AttemptRecord("d1", "openai", 500, 1_500, 0), AttemptRecord("d2", "azure", 200, 2_500, 3_000)),
            held_nano=9_000,
            retries=1,
        ),
    )
    (call,) = ids(1)
    shown = (await ask.get(f"/ui/api/logs/{call}")).json()
    assert shown["call"]["id"] == call
    assert shown["call"]["cost"] == 3e-6
    assert shown["call"]["input_tokens"] == 120
    assert (shown["call"]["duration_ms"], shown["call"]["first_byte_ms"]) == (250.0, 100.0)
    assert shown["costs"] == {"total": 3e-6, "input": 1e-6, "cache_read": 5e-7, "output": 1.5e-6}
    assert shown["usage"] == {"input": 100, "cache_read": 20, "output": 10}
    assert [(one["provider"], one["status"], one["duration_ms"]) for one in shown["attempts"]] == [
        ("openai", 500, 1.5),
        ("azure", 200, 2.5),
    ]
    assert (shown["held"], shown["bodies"], shown["request"]) == (9e-6, "not kept", None)


async def test_a_call_without_a_price_costs_unknown_and_not_nothing(ask: Asking, office: FakeOffice) -> None:
    await keep(office, record(1, cost=Cost(), cost_known=False))
    (call,) = (await ask.get("/ui/api/logs")).json()["calls"]
    assert call["cost"] is None


@pytest.mark.parametrize("id", ["nothing", call_id(1, 1), "%00"])
async def test_a_call_that_is_not_there_is_404(ask: Asking, id: str) -> None:
    assert (await ask.get(f"/ui/api/logs/{id}")).status_code == 404


# --- live


def told(event: bytes) -> tuple[int, list[str], int]:
    """(number of the last call, ids, how many were missed)."""
    lines = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
    data = decode(lines["data"])
    return int(lines["id"]), [call["id"] for call in data["calls"]], data["missed"]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BATCH_S", 0.0)


async def test_calls_are_told_as_they_end(office: FakeOffice, at_once: None) -> None:
    log = LiveLog(office)
    events = log.watch(None)
    assert b"event: open" in await anext(events)
    (tell,) = office.listeners
    tell(record(1))
    assert told(await anext(events)) == (1, ids(1), 0)
    tell(record(2))
    tell(record(3))
    assert told(await anext(events)) == (3, ids(2, 3), 0)
    await events.aclose()


async def test_who_comes_back_misses_nothing(office: FakeOffice, at_once: None) -> None:
    log = LiveLog(office)
    events = log.watch(None)
    await anext(events)
    for seq in (1, 2, 3):
        log.tell(record(seq))
    await events.aclose()
    again = log.watch(1)
    await anext(again)
    assert told(await anext(again)) == (3, ids(2, 3), 0)
    await again.aclose()
    restarted = log.watch(99)  # a number of another worker, or of a time before
    assert b"id: 3\n" in await anext(restarted)
    await restarted.aclose()


async def test_a_slow_watcher_is_told_how_many_it_missed(
    office: FakeOffice, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CALLS_MAX", 3)
    log = LiveLog(office)
    events = log.watch(None)
    await anext(events)
    for seq in range(1, 8):
        log.tell(record(seq))
    assert told(await anext(events)) == (7, ids(5, 6, 7), 4)
    await events.aclose()


async def test_a_stream_ends_by_itself(office: FakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAM_S_MAX", 0.0)
    assert [event async for event in LiveLog(office).watch(None)][1:] == []


async def test_only_so_many_watch_at_once(office: FakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WATCHERS_MAX", 1)
    log = LiveLog(office)
    events = log.watch(None)
    await anext(events)
    with pytest.raises(RateLimited):
        await anext(log.watch(None))
    await events.aclose()
    assert b"open" in await anext(log.watch(None))


async def test_nobody_listens_once_nobody_has_watched_for_a_while(
    office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.0)
    monkeypatch.setattr(live, "IDLE_S_MAX", -1.0)
    log = LiveLog(office)
    events = log.watch(None)
    await anext(events)
    await events.aclose()
    assert office.listeners
    for _ in range(5):
        await asyncio.sleep(0)
    assert office.listeners == []


async def test_calls_of_other_workers_are_told_once(
    office: FakeOffice, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.0)
    office.workers = 2
    now_us = us_of(office.clock)
    await keep(office, record(1, epoch=8, started_us=now_us - 5 * SECOND_US))  # ended before anybody watched
    log = LiveLog(office)
    events = log.watch(None)
    await anext(events)
    for _ in range(5):
        await asyncio.sleep(0)
    mine = record(2, started_us=now_us)
    log.tell(mine)
    await keep(office, mine, record(3, epoch=8, started_us=now_us))
    found: list[str] = []
    while len(found) < 2:
        found += told(await anext(events))[1]
    assert sorted(found) == sorted([call_id(EPOCH, 2), call_id(8, 3)])
    await events.aclose()


# --- overview


async def test_the_overview_adds_up_by_day_model_and_key(ask: Asking, office: FakeOffice) -> None:
    office.clock = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday
    made = await ask.made(key_alias="ada", max_budget=1.0, budget_duration="monthly")
    key = bytes.fromhex(made["token"])

    def on(day: int, seq: int, nano: int, **fields: Any) -> CallRecord:
        at = us_of(office.clock - timedelta(days=day))
        return record(seq, started_us=at, cost=Cost(total=nano), **fields)

    await keep(
        office,
        on(0, 1, 1 * NANO, key=key),
        on(0, 2, 0, status_code=500, model="small", model_group="small"),
        on(2, 3, 2 * NANO, model="small", model_group="small"),
        on(10, 4, 4 * NANO, key=key),
        on(25, 5, 8 * NANO),
        on(40, 6, 16 * NANO),
    )
    shown = (await ask.get("/ui/api/overview")).json()
    assert (shown["today"]["spend"], shown["today"]["calls"], shown["today"]["failed"]) == (1.0, 2, 1)
    assert shown["week"]["spend"] == 3.0
    assert shown["month"]["spend"] == 7.0
    assert len(shown["days"]) == 30
    assert [one["name"] for one in shown["days"]][-1] == "2026-11-20"
    assert sum(one["spend"] for one in shown["days"]) == 15.0
    assert {one["name"]: one["spend"] for one in shown["models"]} == {"gpt-4o": 13.0, "small": 2.0}
    assert {one["alias"]: one["spend"] for one in shown["keys"]} == {"ada": 5.0, None: 10.0}
    some = (await ask.get("/ui/api/overview", start="2026-11-18", end="2026-11-18")).json()
    assert [one["spend"] for one in some["days"]] == [2.0]
    (budget,) = shown["budgets"]
    assert (budget["alias"], budget["limit"]) == ("ada", 1.0)


async def test_the_gateways_own_budget_is_shown_as_the_ledger_knows_it(ask: Asking, office: FakeOffice) -> None:
    shown = (await ask.get("/ui/api/overview")).json()
    assert (shown["spend"], shown["limit"]) == (0.0, None)
    office.live[GLOBAL_SCOPE, ""] = LiveSpend(2 * NANO, 5 * NANO)
    assert (await ask.get("/ui/api/overview")).json()["spend"] == 2.0


@pytest.mark.parametrize(
    "query",
    [
        {"start": "yesterday"},
        {"start": "2026-11-21", "end": "2026-11-20"},
        {"start": "2020-01-01", "end": "2026-01-01"},
    ],
)
async def test_days_that_make_no_range_are_refused(ask: Asking, query: dict[str, str]) -> None:
    assert (await ask.get("/ui/api/overview", **query)).status_code == 400
