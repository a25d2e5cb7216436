"""Writes down every call of a known caller, answered or turned away, exactly once; counts the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.json import encode

from tollway.calls import NO_COST, Call, Cost, Reply, Usage
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


def report(next: Step, ledger: Ledger, told: Report, bodies: Bodies | None, monotonic: Callable[[], float]) -> Step:
    """The outermost step: also sees the calls that the others turn away. About 5 us with the journal's write."""

    async def step(call: Call) -> Reply:
        ledger.check_open()
        try:
            reply = await next(call)
        except PublicError as error:
            _turned_away(call, error.status, error.type, error.message)
            raise
        except (asyncio.CancelledError, ClientGone):
            _turned_away(call, CLIENT_GONE_STATUS, "client_gone", "Client disconnected the request")
            raise
        except TollwayError as error:
            _turned_away(call, 500, "internal_server_error", str(error))
            raise
        except Exception as error:
            _turned_away(call, 500, "internal_server_error", f"{type(error).__name__} inside the gateway")
            raise
        reply.on_settle.append(lambda reply: _answered(call, reply))
        return reply

    def _answered(call: Call, reply: Reply) -> None:
        told.answered += 1
        failure = reply.failure
        _write(
            call,
            usage=reply.usage,
            usage_source=reply.usage_source,
            cost=reply.cost,
            cost_known=reply.cost_known,
            price_version=reply.price_version,
            request_id=reply.reply_id,
            status=failure.status if failure is not None else reply.status,
            error_type=failure.type if failure is not None else "",
            message=failure.message if failure is not None else "",
        )

    def _turned_away(call: Call, status: int, error_type: str, message: str) -> None:
        if call.caller is None:
            told.refused_unknown += 1  # strangers cannot fill the journal
            return
        told.turned_away += 1
        last = call.attempts[-1] if call.attempts else None
        cost = Cost(total=call.cost_of_attempts()) if last is not None else NO_COST
        _write(
            call,
            usage=last.usage if last is not None else None,
            usage_source="estimated" if cost.total else "",
            cost=cost,
            cost_known=True,
            price_version="",
            request_id="",
            status=status,
            error_type=error_type,
            message=message,
        )

    def _write(
        call: Call,
        *,
        usage: Usage | None,
        usage_source: str,
        cost: Cost,
        cost_known: bool,
        price_version: str,
        request_id: str,
        status: int,
        error_type: str,
        message: str,
    ) -> None:
        key = call.caller.key
        deployment = call.deployment
        held = call.hold.amount if call.hold is not None else 0
        # By position, in the order of the record's fields: by name it would cost three times as much.
        record = CallRecord(
            call.epoch,
            call.seq,
            call.started_us,
            call.started_us + int((monotonic() - call.started) * 1e6),  # ended_us
            RECORD_VERSION,  # version
            call.first_byte_us,
            key.digest if key is not None else None,  # key
            key.record.key_alias if key is not None else None,  # key_alias
            key.record.user_id if key is not None else None,  # user_id
            key.record.team_id if key is not None else None,  # team_id
            key.record.organization_id if key is not None else None,  # organization_id
            call.end_user or None,  # end_user
            call.operation.call_type,
            call.path,
            call.model_asked,  # model
            deployment.model_name if deployment is not None else call.model_asked,  # model_group
            deployment.id if deployment is not None else "",  # deployment_id
            deployment.provider.name if deployment is not None else "",  # provider
            deployment.provider_model if deployment is not None else "",  # provider_model
            deployment.public_base if deployment is not None else "",  # api_base
            request_id or call.id,  # request_id
            call.session_id,
            status,  # status_code
            error_type,
            message[:ERROR_MESSAGE_CHARACTERS_MAX],  # error_message
            usage,
            usage_source,
            cost,
            cost_known,
            price_version,
            held,  # held_nano
            held > 0 and cost.total > held,  # over_hold
            call.streaming,  # streamed
            call.retries_used,  # retries
            call.fallbacks_used,  # fallbacks
            tuple(
                AttemptRecord(a.deployment_id, a.provider, a.status, a.duration_us, a.cost.total if a.cost else 0)
                for a in call.attempts
            )
            if len(call.attempts) > 1
            else (),  # attempts
            (*key.tags, *call.tags) if key is not None else tuple(call.tags),  # tags
            encode(call.metadata) if call.metadata is not None else b"",  # metadata
            call.scope["client"][0] if call.scope.get("client") else "",  # client_ip
            call.user_agent,
            False,  # cache_hit
            _keep(call, bodies) if bodies is not None else None,  # body_ref
            tuple(call.charges),  # charges
        )
        record = ledger.write(record)
        for listener in told.listeners:
            listener(record)

    return step


def _keep(call: Call, bodies: Bodies) -> BodyRef | None:
    place = bodies.put(call.seq, call.body, b"".join(call.reply_pieces))
    return BodyRef(*place) if place is not None else None
