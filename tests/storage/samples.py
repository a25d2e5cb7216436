from __future__ import annotations

from hashlib import sha256
from typing import Any

from tollway.calls import Cost, Usage
from tollway.storage import Charge, KeyRecord, SpendEntry
from tollway.storage.record import CallRecord, encode_record


def token(name: str) -> bytes:
    return sha256(f"sk-{name}".encode()).digest()


def a_key(name: str, **fields: Any) -> KeyRecord:
    return KeyRecord(**{"token": token(name), "key_name": f"sk-...{name}", "created_us": 1, "updated_us": 1, **fields})


def a_call(
    seq: int,
    *charges: Charge,
    epoch: int = 7,
    cost: int = 100,
    at: int | None = None,
    failed: bool = False,
    input_tokens: int = 0,
    output_tokens: int = 0,
    model: str = "openai/gpt-4o",
    duration_ms: int = 0,
    **fields: Any,
) -> SpendEntry:
    started_us = 1_000_000 * seq if at is None else at
    values: dict[str, Any] = {
        "request_id": f"chatcmpl-{epoch}-{seq}",
        "provider_model": model,
        "status_code": 500 if failed else 200,
        "usage": Usage(input=input_tokens, output=output_tokens),
        "cost": Cost(total=cost),
        "charges": charges,
        **fields,
    }
    record = CallRecord(epoch=epoch, seq=seq, started_us=started_us, ended_us=started_us + 1000 * duration_ms, **values)
    return record, encode_record(record)
