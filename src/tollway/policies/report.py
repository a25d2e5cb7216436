"""Writes down every call of a known caller, answered or turned away, exactly once; counts the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.json import encode

from tollway.calls import USAGE_ESTIMATED, Call, Cost, Reply
from tollway.downstream.addresses import client_address
from tollway.downstream.line import ClientGone
from tollway.errors import PublicError, TollwayError
from tollway.ledger.budgets import Hold, Holds
from tollway.ledger.ledger import Ledger
from tollway.ledger.record import ERROR_MESSAGE_CHARACTERS_MAX, RECORD_VERSION, AttemptRecord, BodyRef, CallRecord
from tollway.policies import Step
from tollway.snapshot import Caller, Deployment, Owner, Snapshot
from tollway.storage.bodies import Bodies

USER_AGENT_BYTES_MAX = 200
#: nginx's word for a client that left before its answer; no client sees it.
CLIENT_GONE_STATUS = 499
CLIENT_GONE = "Client disconnected the request"


class Report:
    """What became of a call, for whoever wants to know it besides the journal: exporters."""

    __slots__ = ("answered", "listeners", "refused_unknown", "turned_away")

    def __init__(self, listeners: tuple[Callable[[CallRecord], None], ...]) -> None:
        self.listeners = listeners
        self.answered = 0
        self.turned_away = 0
        self.refused_unknown = 0


def report(next: Step, ledger: Ledger, told: Report, bodies: Bodies | None, monotonic: Callable[[], float]) -> Step:
    """The outermost step: also sees the calls that the others turn away. About 5 us with the journal's write."""

    def write(call: Call, reply: Reply, failure: PublicError | None) -> None:
        ended_us = call.started_us + int((monotonic() - call.started) * 1e6)
        kept = _keep(call, bodies) if bodies is not None else None
        written = ledger.write(record_of(call, reply, failure, ended_us, kept), call.outbox)
        for listener in told.listeners:
            listener(written)

    def answered(call: Call, reply: Reply) -> None:
        told.answered += 1
        write(call, reply, reply.failure)

    def turned_away(call: Call, failure: PublicError) -> None:
        if call.caller is None:
            told.refused_unknown += 1  # strangers cannot fill the journal
            return
        told.turned_away += 1
        last = call.attempts[-1] if call.attempts else None
        nothing = Reply(status=failure.status, head=b"", body=b"", deployment=None, attempt=last)
        nothing.usage_source = ""
        if last is not None:
            nothing.usage = last.usage
            nothing.cost = Cost(total=call.cost_of_attempts())
            nothing.usage_source = USAGE_ESTIMATED if nothing.cost.total else ""
        write(call, nothing, failure)

    async def step(call: Call) -> Reply:
        ledger.check_open()
        try:
            reply = await next(call)
        except PublicError as error:
            turned_away(call, error)
            raise
        except (asyncio.CancelledError, ClientGone):
            turned_away(call, PublicError(CLIENT_GONE, status=CLIENT_GONE_STATUS, type="client_gone"))
            raise
        except TollwayError as error:
            turned_away(call, PublicError(str(error)))
            raise
        except Exception as error:
            turned_away(call, PublicError(f"{type(error).__name__} inside the gateway"))
            raise
        reply.on_settle.append(lambda reply: answered(call, reply))
        return reply

    return step


def record_of(call: Call, reply: Reply, failure: PublicError | None, ended_us: int, kept: BodyRef | None) -> CallRecord:
    """The line of the journal. By position, in the order of the record's fields: by name it would cost three times as much."""
    caller: Caller = call.caller
    key = caller.key
    deployment: Deployment | None = call.deployment
    digest, key_alias, user_id, team_id, organization_id = NOBODY if key is None else key.written
    model_group, deployment_id, provider, provider_model, api_base = (
        NOWHERE if deployment is None else deployment.written
    )
    hold: Hold | Holds | None = call.hold
    held = hold.amount if hold is not None else 0
    cost = reply.cost
    tags = tuple(call.tags)
    snapshot: Snapshot = call.snapshot
    client = call.scope.get("client")
    address = client[0] if client else ""
    if snapshot.config.access.forwarded_for:
        address = client_address(call.scope, forwarded=True)
    return CallRecord(
        call.epoch,
        call.seq,
        call.started_us,
        ended_us,
        RECORD_VERSION,
        call.first_byte_us,
        digest,
        key_alias,
        user_id,
        team_id,
        organization_id,
        call.end_user or None,
        call.operation.call_type,
        call.path,
        call.model_asked,  # model
        model_group or call.model_asked,
        deployment_id,
        provider,
        provider_model,
        api_base,
        reply.reply_id or call.id,
        call.session_id,
        reply.status if failure is None else failure.status,
        "" if failure is None else failure.type,  # error_type
        "" if failure is None else failure.message[:ERROR_MESSAGE_CHARACTERS_MAX],  # error_message
        reply.usage,
        reply.usage_source,
        cost,
        reply.cost_known,
        reply.price_version,
        held,
        held > 0 and cost.total > held,  # over_hold
        call.streaming,
        call.retries_used,
        call.fallbacks_used,
        _attempts(call) if len(call.attempts) > 1 else (),
        tags if key is None else key.tags + tags,
        encode(call.metadata) if call.metadata is not None else b"",
        address,  # client_ip
        call.client_headers.get(b"user-agent", b"")[:USER_AGENT_BYTES_MAX].decode("latin-1"),
        False,  # cache_hit
        kept,
        tuple(call.charges),
    )


def _attempts(call: Call) -> tuple[AttemptRecord, ...]:
    return tuple(
        AttemptRecord(a.deployment_id, a.provider, a.status, a.duration_us, a.cost.total if a.cost else 0)
        for a in call.attempts
    )


#: The owner of a call without a virtual key, and where a call was answered that reached no deployment.
NOBODY: Owner = (None, None, None, None, None)
NOWHERE = ("", "", "", "", "")


def _keep(call: Call, bodies: Bodies) -> BodyRef | None:
    place = bodies.put(call.seq, call.body, b"".join(call.reply_pieces))
    return BodyRef(*place) if place is not None else None
