from __future__ import annotations

from hashlib import sha256
from typing import Any

from tollway.storage import Charge, KeyRecord, SpendEntry


def token(name: str) -> bytes:
    return sha256(f"sk-{name}".encode()).digest()


def a_key(name: str, **fields: Any) -> KeyRecord:
    return KeyRecord(**{"token": token(name), "key_name": f"sk-...{name}", "created_us": 1, "updated_us": 1, **fields})


def a_call(
    seq: int, *charges: Charge, epoch: int = 7, cost: int = 100, at: int | None = None, **fields: Any
) -> SpendEntry:
    values: dict[str, Any] = {
        "key": None,
        "user_id": None,
        "request_id": f"chatcmpl-{epoch}-{seq}",
        "model": "openai/gpt-4o",
        "failed": False,
        "detail": b"detail %d" % seq,
        **fields,
    }
    started_us = 1_000_000 * seq if at is None else at
    return SpendEntry(epoch=epoch, seq=seq, started_us=started_us, cost_nano=cost, charges=list(charges), **values)
