"""A million finished calls in a storage, as thirty days up to now left them: fifty keys, a thousand customers, a few failures."""

from __future__ import annotations

from hashlib import sha256

from tollway.calls import Cost, Usage
from tollway.storage import KeyRecord, SpendEntry, Storage
from tollway.storage.record import AttemptRecord, CallRecord, encode_record

ROWS = 1_000_000
BATCH = 2_000
DAYS = 30
DAY_US = 86_400_000_000
EPOCH = 7 << 56
KEYS = [sha256(b"of the million %d" % n).digest() for n in range(50)]
#: (public name, provider, as the configuration writes it)
MODELS = (
    ("gpt-4o", "openai", "openai/gpt-4o"),
    ("claude-sonnet-4-5", "anthropic", "anthropic/claude-sonnet-4-5"),
    ("gemini-2.5-pro", "gemini", "gemini/gemini-2.5-pro"),
)
#: On one call in a hundred thousand: what nobody finds by looking at the newest.
RARE_TAG = "quarterly"
RARE_ERROR = "The moon is in the wrong house"


def call(n: int, now_us: int, *, rows: int = ROWS) -> SpendEntry:
    """The `n`th of them, the first one `DAYS` before `now_us`."""
    who = n % len(KEYS)
    model, provider, provider_model = MODELS[n * 7 % 3]
    at, cost = now_us - (rows - n) * (DAYS * DAY_US // rows), 97_500 + n % 100
    failed = n % 50 == 0
    status = (500, 429, 400, 408)[n // 50 % 4] if failed else 200
    tags = (RARE_TAG,) if n % 100_000 == 777 else ("nightly",) if n % 25 == 0 else ()
    record = CallRecord(
        epoch=EPOCH,
        seq=n,
        started_us=at,
        ended_us=at + 400_000 + n * 7919 % 900_000,
        first_byte_us=at + 200_000 + n * 104_729 % 300_000,
        key=KEYS[who],
        key_alias=f"key-{who}",
        user_id=f"user-{who % 20}",
        team_id=f"team-{who % 5}",
        end_user=f"customer-{n % 997}" if n % 10 == 0 else None,
        path="/v1/chat/completions",
        model=model,
        model_group=model,
        deployment_id=f"deployment-of-{model}",
        provider=provider,
        provider_model=provider_model,
        api_base="http://127.0.0.1:1/v1",
        request_id=f"chatcmpl-{(n * 2654435761) % (1 << 96):024x}",
        session_id=f"session-{n // 20}" if n % 2 else "",
        status_code=status,
        error_type="api_error" if failed else "",
        error_message=(RARE_ERROR if n == rows // 2 // 50 * 50 else f"The provider answered {status}.")
        if failed
        else "",
        usage=Usage(input=100, cache_read=20, output=200),
        cost=Cost(total=cost, input=22_500, output=75_000),
        attempts=(AttemptRecord(f"deployment-of-{model}", provider, status, 500_000, cost),),
        tags=tags,
        client_ip="127.0.0.1",
        user_agent="python-httpx/0.28.1",
        charges=(("key", KEYS[who].hex(), 0, cost), ("team", f"team-{who % 5}", 0, cost), ("global", "", 0, cost)),
    )
    return record, encode_record(record)


async def fill(storage: Storage, now_us: int, *, rows: int = ROWS) -> None:
    for n, key in enumerate(KEYS):
        record = KeyRecord(
            token=key,
            key_name=f"sk-...{n}",
            key_alias=f"key-{n}",
            user_id=f"user-{n % 20}",
            team_id=f"team-{n % 5}",
            created_us=now_us - DAYS * DAY_US,
            updated_us=now_us - DAYS * DAY_US,
            max_budget_nano=10_000_000_000 if n % 2 else None,
        )
        await storage.keys.create(record)
    for start in range(0, rows, BATCH):
        await storage.spend.ingest([call(n, now_us, rows=rows) for n in range(start, min(rows, start + BATCH))])
