"""Finished calls on the console: lines that a person can read, or one JSON object a line for machines.

A person reads a few lines a second: when more calls end, the first ones and the failures are shown and the rest is summed up in
one line. JSON lines are complete, as long as whoever reads them keeps up.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from datetime import UTC, datetime
from typing import TextIO

from msgspec.json import encode

from tollway.ledger.record import CallRecord

LINES_PER_S_MAX = 20
QUEUE_CALLS_MAX = 20_000
FLUSH_S = 1.0


class Console:
    """Owns a queue and a task from `open` to `close`."""

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stdout
        self._queue: deque[CallRecord] = deque()
        self._more = 0
        self._more_nano = 0
        self._task: asyncio.Task[None] | None = None

    def tell(self, record: CallRecord) -> None:
        """Remembers a call for the next line. 0.1 us."""
        keep = QUEUE_CALLS_MAX if self._as_json else LINES_PER_S_MAX
        if len(self._queue) < keep or (record.status_code >= 400 and len(self._queue) < 2 * keep):
            self._queue.append(record)
        else:
            self._more += 1
            self._more_nano += record.cost.total

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._flush_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.flush()

    def flush(self) -> None:
        """Writes what is remembered, at most a second's worth."""
        if not self._queue and not self._more:
            return
        line = json_line if self._as_json else text_line
        lines = [line(record) for record in self._queue]
        self._queue.clear()
        if self._more:
            lines.append(
                encode({"event": "calls_left_out", "calls": self._more, "spend": self._more_nano / 1e9}).decode()
                if self._as_json
                else f"         ... and {self._more} more calls, {_dollars(self._more_nano)}"
            )
            self._more = self._more_nano = 0
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more: calls go on
            return

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()


def text_line(record: CallRecord) -> str:
    """`18:41:03 200 gpt-4o -> openai  openclaw  57+143 tokens  $0.000094  812 ms`"""
    clock = datetime.fromtimestamp(record.ended_us / 1e6, UTC).astimezone().strftime("%H:%M:%S")
    who = _plain(record.key_alias or (record.key.hex()[:8] if record.key else "master key"))
    model = _plain(record.model or "-")
    served = f" -> {_plain(record.model_group)}" if record.model_group not in ("", record.model) else ""
    parts = [f"{clock} {record.status_code} {model}{served}", who]
    if record.usage is not None and record.cost.total + record.usage.input_total + record.usage.output_total:
        parts.append(f"{record.usage.input_total}+{record.usage.output_total} tokens")
        parts.append(_dollars(record.cost.total) if record.cost_known else "unpriced")
    if record.error_message:
        parts.append(f"{record.error_type}: {_plain(record.error_message)[:160]}")
    parts.append(f"{(record.ended_us - record.started_us) // 1000} ms")
    return "  ".join(parts)


def json_line(record: CallRecord) -> str:
    usage = record.usage
    return encode(
        {
            "event": "call",
            "time": datetime.fromtimestamp(record.ended_us / 1e6, UTC).isoformat(timespec="milliseconds"),
            "status": record.status_code,
            "model": record.model,
            "model_group": record.model_group,
            "provider": record.provider,
            "key_alias": record.key_alias,
            "key": record.key.hex() if record.key else None,
            "end_user": record.end_user,
            "request_id": record.request_id,
            "input_tokens": usage.input_total if usage else 0,
            "output_tokens": usage.output_total if usage else 0,
            "spend": record.cost.total / 1e9,
            "duration_ms": (record.ended_us - record.started_us) / 1000,
            "streamed": record.streamed,
            "retries": record.retries,
            "fallbacks": record.fallbacks,
            "error_type": record.error_type or None,
            "error": record.error_message or None,
        }
    ).decode()


def _dollars(nano: int) -> str:
    return f"${nano / 1e9:.6f}" if nano < 10_000_000 else f"${nano / 1e9:.4f}"


def _plain(text: str) -> str:
    """Without characters that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)
