"""What a spend row costs: reading the record, its row, its sums by day, its charges. In batches, as the drain writes them.

    python bench/spend_rows.py [--rows 40000] [--keys 1] [--batches 500,1000,4000] [--url postgresql://...] [--instructions]

CPU is this process's own: a PostgreSQL server's comes on top. With `--instructions` perf counts user instructions, which hold
still where microseconds do not.
"""

# ruff: noqa: S603, S607  the command is written here; perf is whichever the machine has
from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from tollway.calls import Cost, Usage
from tollway.storage import KeyRecord, SpendEntry, open_storage
from tollway.storage.record import AttemptRecord, CallRecord, encode_record

FIRST_US = 20_000 * 86_400_000_000


def entry(n: int, keys: list[bytes], epoch: int) -> SpendEntry:
    key = keys[n % len(keys)]
    record = CallRecord(
        epoch=epoch,
        seq=n,
        started_us=FIRST_US + n * 1_000,
        ended_us=FIRST_US + n * 1_000 + 500_000 + n % 400_000,
        first_byte_us=FIRST_US + n * 1_000 + 200_000,
        key=key,
        key_alias="laptop",
        user_id=f"user-{n % len(keys)}",
        team_id="team",
        path="/v1/chat/completions",
        model="gpt-4o",
        model_group="gpt-4o",
        deployment_id="d1-abcdef",
        provider="openai",
        provider_model="openai/gpt-4o",
        api_base="http://127.0.0.1:1/v1",
        request_id=f"chatcmpl-{n * 0x9E3779B97F4A7C15 % (1 << 96):024x}",
        usage=Usage(input=100, output=200),
        usage_source="provider",
        cost=Cost(total=97_500, input=22_500, output=75_000),
        price_version="2026-11-20",
        attempts=(AttemptRecord("d1-abcdef", "openai", 200, 500_000, 97_500),),
        client_ip="127.0.0.1",
        user_agent="python-httpx/0.28.1",
        charges=(("key", key.hex(), 0, 97_500), ("global", "", 0, 97_500)),
    )
    return record, encode_record(record)


async def write(where: str | Path, rows: int, keys_count: int, batch: int, *, dry: bool) -> float:
    """CPU seconds of writing; `dry`: all is made and nothing written."""
    keys = [sha256(b"%d" % n).digest() for n in range(keys_count)]
    storage = await open_storage(where)
    try:
        for key in keys:
            if await storage.keys.get(key) is None:
                await storage.keys.create(KeyRecord(token=key, key_name="sk-...benc"))
        epoch = time.time_ns() >> 4
        entries = [entry(n, keys, epoch) for n in range(rows)]
        began = time.process_time()
        for start in range(0, 0 if dry else rows, batch):
            await storage.spend.ingest(entries[start : start + batch])
        return time.process_time() - began
    finally:
        await storage.close()


def counted(arguments: list[str]) -> int:
    """User instructions of this script run with these arguments."""
    run = subprocess.run(
        ["perf", "stat", "-x,", "-e", "instructions:u", sys.executable, __file__, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"^(\d+),", run.stderr, re.MULTILINE)
    if found is None:
        raise SystemExit(f"perf did not count: {run.stderr}")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--keys", type=int, default=1)
    parser.add_argument("--batches", default="500,1000,4000")
    parser.add_argument("--url", default="", help="a database; a SQLite file of its own when there is none")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--dry", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    for batch in map(int, flags.batches.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            where = flags.url or Path(folder) / "t.db"
            seconds = asyncio.run(write(where, flags.rows, flags.keys, batch, dry=flags.dry))
        line = f"batches of {batch:5}: {seconds / flags.rows * 1e6:6.2f} us CPU a row"
        if flags.instructions:
            asked = ["--rows", str(flags.rows), "--keys", str(flags.keys), "--batches", str(batch), "--url", flags.url]
            more = (counted(asked) - counted([*asked, "--dry"])) // flags.rows
            line += f", {more} user instructions"
        print(line)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
