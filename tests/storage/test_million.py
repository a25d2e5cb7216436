"""A million finished calls: written at a few microseconds each in flat memory, and every question answered at once."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from tollway.admin.spend import _by_day, report_by_day
from tollway.admin.spend_rows import encode_rows
from tollway.calls import Cost, Usage
from tollway.storage import KeyRecord, SpendEntry, SpendFilter, Storage, open_storage
from tollway.storage.record import AttemptRecord, CallRecord, encode_record
from tollway.testing.machine import slowness

ROWS = 1_000_000
BATCH = 2_000
DAYS = 30
DAY_US = 86_400_000_000
FIRST_US = 20_000 * DAY_US
STEP_US = DAYS * DAY_US // ROWS
KEYS = [sha256(b"%d" % n).digest() for n in range(50)]
MODELS = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro")
ANSWER_MS_MAX = 200
SEARCH_MS_MAX = 1_000
MEMORY_MB_MAX = 60
#: Of making the record, its bytes, and writing it, on a quiet machine; measured 9 and 11.
CPU_US_MAX = 25


def entry(n: int) -> SpendEntry:
    who, model = n % len(KEYS), MODELS[n % 3]
    at, cost = FIRST_US + n * STEP_US, 97_500 + n % 100
    record = CallRecord(
        epoch=7 << 56,
        seq=n,
        started_us=at,
        ended_us=at + 400_000 + n % 900_000,
        first_byte_us=at + 200_000 + n % 300_000,
        key=KEYS[who],
        key_alias=f"key-{who}",
        user_id=f"user-{who % 20}",
        team_id=f"team-{who % 5}",
        end_user=f"customer-{n % 997}" if n % 10 == 0 else None,
        path="/v1/chat/completions",
        model=model,
        model_group=model,
        deployment_id="d1",
        provider="openai",
        provider_model=f"openai/{model}",
        api_base="http://127.0.0.1:1/v1",
        request_id=f"chatcmpl-{(n * 2654435761) % (1 << 96):024x}",
        session_id=f"session-{n // 20}" if n % 2 else "",
        status_code=500 if n % 50 == 0 else 200,
        usage=Usage(input=100, cache_read=20, output=200),
        cost=Cost(total=cost, input=22_500, output=75_000),
        attempts=(AttemptRecord("d1", "openai", 200, 500_000, cost),),
        tags=("nightly",) if n % 25 == 0 else (),
        client_ip="127.0.0.1",
        user_agent="python-httpx/0.28.1",
        charges=(("key", KEYS[who].hex(), 0, cost), ("global", "", 0, cost)),
    )
    return record, encode_record(record)


@pytest.fixture(params=["sqlite", "postgres"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    where: Any = tmp_path / "t.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = await open_storage(where)
    yield opened
    await opened.close()


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def timed(what: str, ask: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """The better of two, so that a busy machine is not taken for a slow program."""
    best = 1e9
    answer = None
    for _ in range(2):
        began = time.perf_counter()
        answer = await ask()
        best = min(best, (time.perf_counter() - began) * 1000)
    print(f"  {what:48} {best:8.1f} ms")
    return best, answer


@pytest.mark.slow
async def test_a_million_rows_are_written_in_flat_memory_and_every_report_is_quick(storage: Storage) -> None:
    for n, key in enumerate(KEYS):
        await storage.keys.create(KeyRecord(token=key, key_name=f"sk-...{n}"))
    await storage.spend.ingest([entry(n) for n in range(BATCH)])
    slower = slowness()
    before_mb, began, began_cpu = memory_mb(), time.perf_counter(), time.process_time()
    for start in range(BATCH, ROWS, BATCH):
        await storage.spend.ingest([entry(n) for n in range(start, start + BATCH)])
    cpu_us = (time.process_time() - began_cpu) / ROWS * 1e6
    grown_mb = memory_mb() - before_mb
    print(f"\n{cpu_us:.1f} us CPU a row (5 to make it), {time.perf_counter() - began:.0f} s, {grown_mb:.0f} MB more")

    month = SpendFilter(from_us=FIRST_US, until_us=FIRST_US + DAYS * DAY_US)
    spend = storage.spend
    last = FIRST_US + (ROWS - 1) * STEP_US

    async def page() -> bytes:
        return encode_rows(await spend.page(SpendFilter(), limit=50))

    async def by_day() -> Any:
        return _by_day(await spend.groups(("day", "key", "user_id", "model"), month), month)

    async def report(column: Any, *, pieces_max: int = 1_000) -> Any:
        days = [group.day or 0 for group in await spend.groups(("day",), month)]
        pieces = []
        async for piece in report_by_day(spend, month, days, column):
            pieces.append(piece)
            if len(pieces) == pieces_max:
                break
        return pieces

    middle = (FIRST_US + (ROWS // 2) * STEP_US, 0)
    rare = SpendFilter(failed=True, key=KEYS[0], cost_max_nano=97_500)
    answers = {
        "the newest page": await timed("the newest page", page),
        "a later page": await timed("a page in the middle", lambda: spend.page(month, limit=50, before=middle)),
        "a page of one key": await timed("a page of one key", lambda: spend.page(SpendFilter(key=KEYS[3]), limit=50)),
        "daily activity": await timed("daily activity, 30 days by key, user, model", by_day),
        "the report by team": await timed("the report by team", lambda: report("team_id")),
        "customers": await timed("the report by customer, its first day", lambda: report("end_user", pieces_max=1)),
        "one sum a day": await timed("one sum a day", lambda: spend.groups(("day",), month)),
        "sums of everything": await timed("sums of everything", lambda: spend.groups((), SpendFilter())),
        "tags": await timed("sums by tag", lambda: spend.groups(("tag",), month)),
        "times": await timed("times by day and model", lambda: spend.times(("day", "model"), month)),
    }
    customer, session = SpendFilter(end_user="customer-10"), SpendFilter(session_id="session-777")
    searches = {
        "few rows": await timed("a page of few failures of a key", lambda: spend.page(rare, limit=50)),
        "an end user": await timed("one end user's rows", lambda: spend.page(customer, limit=50)),
        "a session": await timed("a session", lambda: spend.page(session, limit=50)),
        "a request": await timed("a request by its id", lambda: spend.by_request_id(entry(ROWS // 3)[0].request_id)),
        "all counted": await timed("all rows counted", lambda: spend.count(SpendFilter())),
    }
    # A hundred thousand sums, seventeen megabytes, sent day by day: a thousand customers, each with fifteen keys and models.
    _, by_customer = await timed("the report by customer, all of it", lambda: report("end_user"))

    assert len(searches["a session"][1]) == 10
    assert len(searches["a request"][1]) == 1
    assert searches["all counted"][1] == ROWS
    (everything,) = answers["sums of everything"][1]
    assert everything.calls == ROWS
    assert everything.spend_nano == sum(97_500 + n % 100 for n in range(ROWS))
    assert (await spend.page(SpendFilter(), limit=1))[0].started_us == last
    told = [one for day in json.decode(b"".join(by_customer)) for one in day["customers"]]
    assert len(told) == DAYS * 998  # those who have none are one more
    assert sum(one["total_spend"] for one in told) == pytest.approx(everything.spend_nano / 1e9)
    assert grown_mb < MEMORY_MB_MAX
    slower = max(slower, slowness()) * (2 if sys.gettrace() else 1)  # coverage counts every line that is run
    print(f"  this machine is {slower:.1f} times as slow as a quiet one")
    assert cpu_us < CPU_US_MAX * slower
    slow = {what: round(ms) for what, (ms, _) in answers.items() if ms > ANSWER_MS_MAX * slower}
    slow |= {what: round(ms) for what, (ms, _) in searches.items() if ms > SEARCH_MS_MAX * slower}
    assert slow == {}
