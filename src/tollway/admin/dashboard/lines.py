"""A finished call as the dashboard shows it: a line in its log, and everything that is known when somebody opens it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from tollway.admin.border import NANO
from tollway.calls import call_id
from tollway.ledger.record import CallRecord

#: Of a stored body this much is shown; the whole of it is in `/spend/logs?request_id=`.
BODY_CHARACTERS_MAX = 2 << 20


class CallLine(Struct, frozen=True, kw_only=True):
    """Times are milliseconds since 1970 or milliseconds taken, money is dollars. `cost` is None for what has no price, `key` for
    the master key, `first_byte_ms` where nothing came."""

    id: str
    at_ms: float
    duration_ms: float
    first_byte_ms: float | None
    status: int
    model: str
    model_group: str
    provider: str
    call_type: str
    key: str | None
    key_alias: str | None
    team_id: str | None
    user_id: str | None
    end_user: str | None
    tags: list[str]
    input_tokens: int
    output_tokens: int
    cost: float | None
    streamed: bool
    retries: int
    fallbacks: int
    error_type: str
    error: str


class AttemptLine(Struct, frozen=True, kw_only=True):
    deployment_id: str
    provider: str
    status: int
    duration_ms: float
    cost: float


class CallDetail(Struct, frozen=True, kw_only=True):
    """`usage` and `costs` hold what is not zero, by bucket. `bodies` says why `request` and `response` are there or not."""

    call: CallLine
    provider_model: str
    deployment_id: str
    api_base: str
    path: str
    request_id: str
    session_id: str
    user_id: str | None
    team_id: str | None
    client_ip: str
    user_agent: str
    usage: dict[str, float]
    usage_source: str
    costs: dict[str, float]
    price_version: str
    held: float
    over_hold: bool
    attempts: list[AttemptLine]
    metadata: str
    bodies: str  # "kept", "gone" or "not kept"
    request: str | None
    response: str | None
    cut: bool


def line_of(record: CallRecord) -> CallLine:
    usage = record.usage
    return CallLine(
        id=call_id(record.epoch, record.seq),
        at_ms=record.started_us / 1000,
        duration_ms=(record.ended_us - record.started_us) / 1000,
        first_byte_ms=(record.first_byte_us - record.started_us) / 1000 if record.first_byte_us else None,
        status=record.status_code,
        model=record.model,
        model_group=record.model_group,
        provider=record.provider,
        call_type=record.call_type,
        key=record.key.hex() if record.key is not None else None,
        key_alias=record.key_alias,
        team_id=record.team_id,
        user_id=record.user_id,
        end_user=record.end_user,
        tags=list(record.tags),
        input_tokens=usage.input_total if usage is not None else 0,
        output_tokens=usage.output_total if usage is not None else 0,
        cost=record.cost.total / NANO if record.cost_known else None,
        streamed=record.streamed,
        retries=record.retries,
        fallbacks=record.fallbacks,
        error_type=record.error_type,
        error=record.error_message,
    )


def detail_of(record: CallRecord, bodies: tuple[bytes, bytes] | None) -> CallDetail:
    request, response = (_text(bodies[0]), _text(bodies[1])) if bodies is not None else (None, None)
    return CallDetail(
        call=line_of(record),
        provider_model=record.provider_model,
        deployment_id=record.deployment_id,
        api_base=record.api_base,
        path=record.path,
        request_id=record.request_id,
        session_id=record.session_id,
        user_id=record.user_id,
        team_id=record.team_id,
        client_ip=record.client_ip,
        user_agent=record.user_agent,
        usage=_numbers(record.usage),
        usage_source=record.usage_source,
        costs={name: nano / NANO for name, nano in _numbers(record.cost).items()},
        price_version=record.price_version,
        held=record.held_nano / NANO,
        over_hold=record.over_hold,
        attempts=[
            AttemptLine(
                deployment_id=attempt.deployment_id,
                provider=attempt.provider,
                status=attempt.status,
                duration_ms=attempt.duration_us / 1000,
                cost=attempt.cost_nano / NANO,
            )
            for attempt in record.attempts
        ],
        metadata=record.metadata.decode("utf-8", "replace"),
        bodies="kept" if bodies is not None else "gone" if record.body_ref is not None else "not kept",
        request=request[:BODY_CHARACTERS_MAX] if request is not None else None,
        response=response[:BODY_CHARACTERS_MAX] if response is not None else None,
        cut=any(text is not None and len(text) > BODY_CHARACTERS_MAX for text in (request, response)),
    )


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"<{len(body)} bytes>"


def _numbers(buckets: Any) -> dict[str, float]:
    if buckets is None:
        return {}
    found = structs.asdict(buckets)
    return {name: value for name, value in found.items() if isinstance(value, (int, float)) and value}
