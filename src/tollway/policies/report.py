"""Writes down every call of a known caller, answered or turned away, exactly once; counts the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct
from msgspec.json import encode

from tollway.calls import NO_COST, USAGE_ESTIMATED, Call, Cost, Reply, Usage
from tollway.downstream.line import ClientGone
from tollway.errors import PublicError, TollwayError
from tollway.ledger.ledger import Ledger
from tollway.ledger.record import ERROR_MESSAGE_CHARACTERS_MAX, RECORD_VERSION, AttemptRecord, BodyRef, CallRecord
from tollway.policies import Step
from tollway.storage.bodies import Bodies

#: nginx's word for a client that left before its answer; no client sees it.
CLIENT_GONE_STATUS = 499


class Report:
    """What became of a call, for whoever wants to know it besides the journal: exporters."""

    __slots__ = ("answered", "listeners", "refused_unknown", "turned_away")

    def __init__(self, listeners: tuple[Callable[[CallRecord], None], ...]) -> None:
        self.listeners = listeners
        self.answered = 0
        self.turned_away = 0
        self.refused_unknown = 0


class Outcome(Struct, gc=False):
    """How a call ended: what it used and cost, and what went wrong, if anything."""

    usage: Usage | None
    usage_source: str
    cost: Cost
    cost_known: bool
    price_version: str
    request_id: str
    status: int
    error_type: str
    message: str


def report(next: Step, ledger: Ledger, told: Report, bodies: Bodies | None, monotonic: Callable[[], float]) -> Step:
    """The outermost step: also sees the calls that the others turn away. About 5 us with the journal's write."""

    def write(call: Call, outcome: Outcome) -> None:
        ended_us = call.started_us + int((monotonic() - call.started) * 1e6)
        kept = _keep(call, bodies) if bodies is not None else None
        written = ledger.write(record_of(call, outcome, ended_us, kept))
        for listener in told.listeners:
            listener(written)

    def answered(call: Call, reply: Reply) -> None:
        told.answered += 1
        write(call, outcome_of(reply))

    def turned_away(call: Call, status: int, error_type: str, message: str) -> None:
        if call.caller is None:
            told.refused_unknown += 1  # strangers cannot fill the journal
            return
        told.turned_away += 1
        last = call.attempts[-1] if call.attempts else None
        usage = last.usage if last is not None else None
        cost = Cost(total=call.cost_of_attempts()) if last is not None else NO_COST
        source = USAGE_ESTIMATED if cost.total else ""
        write(call, Outcome(usage, source, cost, True, "", "", status, error_type, message))

    async def step(call: Call) -> Reply:
        ledger.check_open()
        try:
            reply = await next(call)
        except PublicError as error:
            turned_away(call, error.status, error.type, error.message)
            raise
        except (asyncio.CancelledError, ClientGone):
            turned_away(call, CLIENT_GONE_STATUS, "client_gone", "Client disconnected the request")
            raise
        except TollwayError as error:
            turned_away(call, 500, "internal_server_error", str(error))
            raise
        except Exception as error:
            turned_away(call, 500, "internal_server_error", f"{type(error).__name__} inside the gateway")
            raise
        reply.on_settle.append(lambda reply: answered(call, reply))
        return reply

    return step


def outcome_of(reply: Reply) -> Outcome:
    failure = reply.failure
    return Outcome(
        reply.usage,
        reply.usage_source,
        reply.cost,
        reply.cost_known,
        reply.price_version,
        reply.reply_id,
        failure.status if failure is not None else reply.status,
        failure.type if failure is not None else "",
        failure.message if failure is not None else "",
    )


def record_of(call: Call, outcome: Outcome, ended_us: int, kept: BodyRef | None) -> CallRecord:
    """The line of the journal. By position, in the order of the record's fields: by name it would cost three times as much."""
    key = call.caller.key
    owner = key.record if key is not None else NOBODY
    deployment = call.deployment if call.deployment is not None else NOWHERE
    held = call.hold.amount if call.hold is not None else 0
    return CallRecord(
        call.epoch,
        call.seq,
        call.started_us,
        ended_us,
        RECORD_VERSION,
        call.first_byte_us,
        key.digest if key is not None else None,
        owner.key_alias,
        owner.user_id,
        owner.team_id,
        owner.organization_id,
        call.end_user or None,
        call.operation.call_type,
        call.path,
        call.model_asked,  # model
        deployment.model_name or call.model_asked,  # model_group
        deployment.id,
        deployment.provider.name,
        deployment.provider_model,
        deployment.public_base,  # api_base
        outcome.request_id or call.id,
        call.session_id,
        outcome.status,
        outcome.error_type,
        outcome.message[:ERROR_MESSAGE_CHARACTERS_MAX],
        outcome.usage,
        outcome.usage_source,
        outcome.cost,
        outcome.cost_known,
        outcome.price_version,
        held,
        held > 0 and outcome.cost.total > held,  # over_hold
        call.streaming,
        call.retries_used,
        call.fallbacks_used,
        _attempts(call) if len(call.attempts) > 1 else (),
        (*key.tags, *call.tags) if key is not None else tuple(call.tags),
        encode(call.metadata) if call.metadata is not None else b"",
        call.scope["client"][0] if call.scope.get("client") else "",  # client_ip
        call.user_agent,
        False,  # cache_hit
        kept,
        tuple(call.charges),
    )


def _attempts(call: Call) -> tuple[AttemptRecord, ...]:
    return tuple(
        AttemptRecord(a.deployment_id, a.provider, a.status, a.duration_us, a.cost.total if a.cost else 0)
        for a in call.attempts
    )


class _Nobody:
    """The owner of a call without a virtual key."""

    key_alias = user_id = team_id = organization_id = None


class _Nowhere:
    """Where a call was answered that reached no deployment."""

    model_name = id = provider_model = public_base = name = ""
    provider: _Nowhere


NOBODY = _Nobody()
NOWHERE = _Nowhere()
NOWHERE.provider = NOWHERE


def _keep(call: Call, bodies: Bodies) -> BodyRef | None:
    place = bodies.put(call.seq, call.body, b"".join(call.reply_pieces))
    return BodyRef(*place) if place is not None else None
