"""What each deployment is doing: whether it rests and until when, how long its answers take, and what went wrong last.

Workers bench for themselves, and each of this machine's is told of; a sample of the newest finished calls, of all workers and
hosts, says how long answers took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from fastapi import Response
from msgspec import Struct
from msgspec.json import encode
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin import BenchedIn, DeploymentState
from tollway.admin.border import iso_z, office_of, us_of
from tollway.admin.entities import not_found, noted
from tollway.admin.models_admin import shown_model
from tollway.ledger.record import AttemptRecord, CallRecord, decode_record
from tollway.storage import SpendFilter, SpendRow

#: Of so many of the newest calls times are told, as far as they began within so many hours.
SAMPLE_CALLS_MAX = 2_000
SAMPLE_HOURS = 24
_TABLE = "LiteLLM_ProxyModelTable"


class WorkerShown(Struct, frozen=True, kw_only=True):
    """What one worker of this machine knows, as it was at `at`. Moments are ISO 8601, None for never."""

    worker: int
    at: str | None
    resting_until: str | None
    failures: int
    last_ok: str | None
    last_error: str


class DeploymentShown(Struct, frozen=True, kw_only=True):
    """`state` is "ready", "resting" (in some worker), "blocked", or "missing" something that it needs. `fallbacks` are where its
    model's calls go when it fails. `rests` False: it is the only one, so that failures do not keep calls from it."""

    model_name: str
    model_id: str
    state: str
    provider: str
    model: str
    api_base: str
    place: str
    db_model: bool
    pattern: bool
    weight: float
    order: int
    rpm: int | None
    tpm: int | None
    max_parallel_requests: int | None
    missing: str
    rests: bool
    fallbacks: list[str]
    workers: list[WorkerShown]


class DeploymentList(Struct, frozen=True, kw_only=True):
    """`workers` is how many serve on this machine. `shared`: other hosts may serve too, and what rests there is not told here."""

    deployments: list[DeploymentShown]
    workers: int
    shared: bool


class Timing(Struct, frozen=True, kw_only=True):
    """Of one deployment's calls in the sample; milliseconds. Times are those of answered calls, `first_byte` to the first byte of
    streamed ones. `last_error` is what the last failed one said."""

    model_id: str
    calls: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    first_byte_p50_ms: float | None
    first_byte_p95_ms: float | None
    last_error: str
    last_error_at: str | None


class Timings(Struct, frozen=True, kw_only=True):
    """`calls` were looked at, the oldest of `since`."""

    deployments: list[Timing]
    calls: int
    since: str | None


class Released(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model_id: str


async def list_deployments(request: Request) -> Response:
    """Every deployment, and which worker keeps it from calls."""
    office = office_of(request)
    shown = DeploymentList(
        deployments=[_shown(one) for one in await office.deployments()],
        workers=office.workers,
        shared=office.storage.shared,
    )
    return Response(encode(shown), media_type="application/json")


async def release(request: Request, body: Released) -> dict[str, Any]:
    """Lets a deployment be called again before its rest is over."""
    await office_of(request).release_deployment(body.model_id)
    await noted(request, "released", _TABLE, body.model_id, None, None)
    return {"released": body.model_id}


async def timings(request: Request) -> Response:
    """How long answers took and how many failed, by deployment, among the newest calls."""
    office = office_of(request)
    since = us_of(office.now() - timedelta(hours=SAMPLE_HOURS))
    rows = await office.storage.spend.page(SpendFilter(from_us=since), limit=SAMPLE_CALLS_MAX)
    shown = await asyncio.to_thread(_timings, rows)
    return Response(encode(shown), media_type="application/json")


async def stored(request: Request, id: str) -> dict[str, Any]:
    """A model that was added through the API, as it was given: `litellm_params` without what is secret."""
    office = office_of(request)
    model = await office.storage.people.models.get(id)
    if model is None:
        raise not_found("Model", id, "id")
    return shown_model(model, office.unseal("models", id, model.sealed))


def _shown(one: DeploymentState) -> DeploymentShown:
    workers = [_worker(worker) for worker in one.workers]
    state = "ready"
    if one.blocked:
        state = "blocked"
    elif one.missing:
        state = "missing"
    elif any(worker.resting_until for worker in workers):
        state = "resting"
    return DeploymentShown(
        model_name=one.model_name,
        model_id=one.deployment_id,
        state=state,
        provider=one.provider,
        model=one.provider_model,
        api_base=one.api_base,
        place="" if one.stored else one.place,
        db_model=one.stored,
        pattern=one.pattern,
        weight=one.weight,
        order=one.order,
        rpm=one.rpm,
        tpm=one.tpm,
        max_parallel_requests=one.parallel_max,
        missing=one.missing,
        rests=one.rests,
        fallbacks=list(one.fallbacks),
        workers=workers,
    )


def _worker(one: BenchedIn) -> WorkerShown:
    return WorkerShown(
        worker=one.worker,
        at=_moment(one.at_s),
        resting_until=_moment(one.resting_until_s),
        failures=one.failures,
        last_ok=_moment(one.last_ok_s),
        last_error=one.last_error,
    )


def _moment(seconds: float) -> str | None:
    return iso_z(int(seconds * 1_000_000)) if seconds else None


class _Tally:
    def __init__(self) -> None:
        self.calls = self.failed = 0
        self.took_ms: list[float] = []
        self.first_ms: list[float] = []
        self.last_error = ""
        self.last_error_us = 0


def _timings(rows: Sequence[SpendRow]) -> Timings:
    tallies: dict[str, _Tally] = {}
    for row in rows:  # the newest first
        record = decode_record(row.detail)
        attempts = record.attempts or _only_attempt(record)
        for place, attempt in enumerate(attempts):
            tally = tallies.setdefault(attempt.deployment_id, _Tally())
            tally.calls += 1
            last = place == len(attempts) - 1
            if last and not record.failed:
                before_us = sum(one.duration_us for one in attempts[:-1])
                tally.took_ms.append((record.ended_us - record.started_us - before_us) / 1000)
                if record.streamed:
                    tally.first_ms.append(attempt.duration_us / 1000)
            else:
                _count_failure(tally, record, attempt, last=last)
    return Timings(
        deployments=[_timing(name, tally) for name, tally in sorted(tallies.items())],
        calls=len(rows),
        since=iso_z(rows[-1].started_us) if rows else None,
    )


def _only_attempt(record: CallRecord) -> tuple[AttemptRecord, ...]:
    """Attempts are written down where there were several. A call that reached nobody had none."""
    if not record.deployment_id:
        return ()
    first_us = record.first_byte_us or record.ended_us
    return (AttemptRecord(record.deployment_id, record.provider, record.status_code, first_us - record.started_us, 0),)


def _count_failure(tally: _Tally, record: CallRecord, attempt: AttemptRecord, *, last: bool) -> None:
    """Of an attempt that another one came after no words are kept."""
    tally.failed += 1
    if not tally.last_error_us:
        tally.last_error_us = record.started_us
        tally.last_error = record.error_message if last else f"HTTP {attempt.status}" if attempt.status else ""


def _timing(name: str, tally: _Tally) -> Timing:
    return Timing(
        model_id=name,
        calls=tally.calls,
        failed=tally.failed,
        p50_ms=_quantile(tally.took_ms, 0.5),
        p95_ms=_quantile(tally.took_ms, 0.95),
        first_byte_p50_ms=_quantile(tally.first_ms, 0.5),
        first_byte_p95_ms=_quantile(tally.first_ms, 0.95),
        last_error=tally.last_error,
        last_error_at=iso_z(tally.last_error_us) if tally.last_error_us else None,
    )


def _quantile(values: Iterable[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
