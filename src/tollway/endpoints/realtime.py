"""The realtime WebSocket: a client's session relayed to a provider's, each response charged as it ends.

The life of a session: the first turn passes every step that a call passes (see `gateway.ORDER`; there is no body to read), the
provider's session is opened, and only then the client is let in, so that whoever is turned away gets a plain HTTP answer. Then
messages go both ways, unchanged and one at a time. `response.done` ends a turn: it is settled before the client sees the event,
and the next turn begins with a hold of its own and with the keys as they are then. A turn that no response ended is settled with
the session.

What ends a session, besides the two sides: no budget for what comes next (error event, close code 1008), a key that was blocked
or has expired (the same), nothing said by either side for as long as a stream of the deployment may stall, or the deployment's
whole timeout (error event, 1001), a provider that breaks (error event, 1011).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import random
from urllib.parse import parse_qs

from msgspec import Struct
from msgspec.json import encode

from tollway.calls import USAGE_ESTIMATED, Attempt, Call, Cost, Reply, Usage
from tollway.downstream import websocket as close_codes
from tollway.downstream.line import ClientGone
from tollway.downstream.websocket import WebSocket
from tollway.errors import (
    BadRequest,
    BudgetExceeded,
    PublicError,
    RateLimited,
    Rejection,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from tollway.gateway import error_head
from tollway.ledger.budgets import Account, Budgets, Holds, usd
from tollway.ledger.ledger import Ledger
from tollway.operations.realtime import (
    DONE,
    HELD_IN,
    HELD_OUT,
    SUBPROTOCOL,
    TRANSCRIBED,
    Ears,
    Realtime,
    Told,
    further_bound,
    handshake_head,
    key_offered,
)
from tollway.policies import Step
from tollway.policies.allow_model import allow_model
from tollway.policies.authenticate import KEY_HEADERS, authenticate
from tollway.policies.hold_budget import hold_budget, hold_for_deployment
from tollway.policies.limit_rate import Place, limit_rate
from tollway.policies.report import CLIENT_GONE_STATUS, Report, report
from tollway.pricing.cost import cost_of
from tollway.routing.choice import choose
from tollway.snapshot import Deployment, Model
from tollway.upstream.websocket import HandshakeRefused, SocketClosed, SocketOpener, UpstreamSocket, failure_of
from tollway.upstream.wire import Upstream, WireRequest

log = logging.getLogger("tollway")

PATHS = ("/v1/realtime", "/realtime", "/openai/realtime", "/openai/v1/realtime")
#: What a client may be closed with; a provider's other codes are its own affair (RFC 6455, 7.4).
RELAYED_CODES = frozenset({1000, 1001, 1008, *range(3000, 5000)})

#: Makes a call of a session's: a seq of its own, and the snapshot that is in force now.
Begin = Callable[[], Call]


class Sessions:
    """Serves realtime WebSockets. Owns nothing: it is handed what lives long by `app.py`."""

    def __init__(
        self,
        *,
        operation: Realtime,
        opener: SocketOpener,
        upstream: Upstream,
        ledger: Ledger,
        budgets: Budgets,
        told: Report,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float] = random,
    ) -> None:
        self.operation = operation
        self.budgets = budgets
        self.wall = wall
        self.now = monotonic
        self._opener = opener
        self._upstream = upstream  # for sign-ins: a session's provider may take tokens that expire
        self._chance = chance

        def written(next: Step) -> Step:
            return report(next, ledger, told, None, monotonic)

        def held(next: Step) -> Step:
            return hold_budget(next, budgets, wall)

        def paced(next: Step) -> Step:
            return limit_rate(next, monotonic, wall)

        self._first = written(authenticate(allow_model(paced(held(self._open))), wall))
        self.following = written(authenticate(allow_model(held(self._go_on)), wall))

    async def serve(self, socket: WebSocket, begin: Begin) -> None:
        """One session, from its first byte to its last."""
        offered = socket.subprotocols
        call = begin()
        try:
            _read_request(call, offered)
            reply = await self._first(call)
        except PublicError as error:
            await socket.refuse(error.status, error_head(call, error), self.operation.dialect.encode_error(error))
            return
        except Exception:  # a defect of ours: the client gets a proper error, the log gets the place
            log.exception("session %s failed inside the gateway", call.id)
            defect = PublicError("The gateway failed to open this session; its log says why.")
            await socket.refuse(500, error_head(call, defect), self.operation.dialect.encode_error(defect))
            return
        session = _Session(self, socket, begin, call, reply)
        try:
            await session.run(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        finally:
            reply.end()

    # --- below the policies

    async def _open(self, call: Call) -> Reply:
        """Opens a session at one of the model's deployments, or at a fallback's."""
        model: Model = call.model
        first: UpstreamError | None = None
        for name in (model.name, *model.fallbacks):
            candidate = model if name == model.name else call.snapshot.resolve(name)
            if candidate is None:
                continue
            tried: list[Deployment] = []
            while len(tried) < len(candidate.deployments):
                chosen = choose(candidate.deployments, now=self.now(), chance=self._chance(), tried=tried)
                tried.append(chosen)
                try:
                    return await self._open_at(call, chosen)
                except UpstreamError as error:
                    first = first or error
                    chosen.health.last_error = error.message
                    if not error.retryable:
                        raise
                    if len(tried) < len(candidate.deployments):
                        call.retries_used += 1
            call.fallbacks_used += 1
        raise first or UpstreamBroken("No deployment of this model opened a session.")

    async def _open_at(self, call: Call, deployment: Deployment) -> Reply:
        """Within the deployment's own budgets and its pace."""
        call.deployment = deployment
        place = Place(0, self.now)
        try:
            charge = await hold_for_deployment(call, deployment, self.budgets, self.wall)
            if deployment.pace is not None:
                try:
                    await place.take(deployment.pace, f"deployment: {deployment.model_name}", self.wall)
                except RateLimited:
                    charge(None)
                    raise
        except (BudgetExceeded, RateLimited) as full:
            raise UpstreamRateLimited(full.message, deployment=deployment.id, headers=full.headers) from full
        try:
            reply = await self._shake_hands(call, deployment)
        except BaseException:
            place.leave()
            charge(None)
            raise
        reply.on_settle.append(charge)
        reply.on_end.append(place.leave)
        return reply

    async def _go_on(self, call: Call) -> Reply:
        """A further turn of a session that is open."""
        deployment: Deployment = call.deployment
        charge = await hold_for_deployment(call, deployment, self.budgets, self.wall)
        attempt = Attempt(deployment.id, deployment.provider.name, 101)
        call.attempts.append(attempt)
        reply = _reply_of(call, attempt)
        reply.on_settle.append(charge)
        return reply

    async def _shake_hands(self, call: Call, deployment: Deployment) -> Reply:
        head = None if deployment.missing is not None else handshake_head(call, deployment, call.line.subprotocols)
        if head is None:
            raise _cannot_be_opened(deployment)
        attempt = Attempt(deployment.id, deployment.provider.name)
        call.attempts.append(attempt)
        started = self.now()
        try:
            if deployment.signer is not None:
                request = WireRequest(deployment.origin, head, b"")
                await deployment.signer.prepare(self._upstream)
                deployment.signer.sign(request)
                head = request.head
            opened = await self._opener.open(deployment.origin, head, deployment.deadlines)
        except HandshakeRefused as refused:
            attempt.status = refused.status
            status = refused.status if refused.status >= 400 else 502
            said: UpstreamError = self.operation.dialect.decode_error(
                status, refused.headers, refused.body, deployment.provider.name
            )
            attempt.error = said.message
            said.deployment = deployment.id
            raise said from refused
        except UpstreamError as error:
            attempt.error = error.message
            error.deployment = deployment.id
            raise
        finally:
            attempt.duration_us = int((self.now() - started) * 1e6)
        attempt.status = 101
        deployment.health.succeeded(self.now())
        call.first_byte_us = call.started_us + int((self.now() - call.started) * 1e6)
        reply = _reply_of(call, attempt)
        reply.wire = opened  # closed with the first reply, which ends with the session
        return reply


def _reply_of(call: Call, attempt: Attempt) -> Reply:
    """A turn's reply has no bytes of its own: they pass as they come."""
    return Reply(status=200, head=b"", body=b"", deployment=call.deployment, attempt=attempt)


class _Ending(Struct):
    """How a session ended: the client is told `error`, where there is one, and closed with `code`."""

    code: int = close_codes.NORMAL
    reason: str = ""
    error: PublicError | None = None


class _Session:
    """One client and one provider, and the turn that is open."""

    def __init__(self, sessions: Sessions, socket: WebSocket, begin: Begin, call: Call, reply: Reply) -> None:
        self._sessions = sessions
        self._socket = socket
        self._begin = begin
        self._call = call
        self._reply = reply
        self._provider: UpstreamSocket = reply.wire
        self._deployment: Deployment = reply.deployment
        self._ears: Ears = call.encoded
        self._tokens = 0  # of all turns
        self._holding = asyncio.Lock()  # one hold after the other, and nothing passes meanwhile
        self._covered_in, self._covered_out = HELD_IN, HELD_OUT
        self._heard_at = sessions.now()
        self._take_over(call)

    async def run(self, subprotocol: str | None) -> None:
        try:
            await self._socket.accept(subprotocol)
        except ClientGone:
            self._settle_last(_Ending(error=_CLIENT_GONE))
            return
        tasks = [asyncio.ensure_future(side()) for side in (self._from_client, self._from_provider, self._watch)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ending = next(task for task in tasks if task in done).result()
        except asyncio.CancelledError:
            self._settle_last(_Ending(error=_CLIENT_GONE))
            raise
        except Exception:  # a defect of ours: the client is told, the log gets the place
            log.exception("session %s failed inside the gateway", self._call.id)
            defect = PublicError("The gateway failed to relay this session; its log says why.")
            ending = _Ending(close_codes.BROKEN, "the gateway failed", defect)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._settle_last(ending)
        await self._say_goodbye(ending)

    # --- the two ways

    async def _from_client(self) -> _Ending:
        while True:
            try:
                message = await self._socket.receive()
            except ClientGone:
                left = self._socket.close_code
                self._provider.close(left if left in RELAYED_CODES else close_codes.NORMAL)
                return _Ending(left, error=_CLIENT_GONE if self._ears.responding else None)
            self._heard_at = self._sessions.now()
            self._ears.hear_client(message)
            if (ending := await self._cover()) is not None:
                return ending
            try:
                await self._provider.send(message)
            except (UpstreamError, SocketClosed) as error:
                return self._provider_ended(error)

    async def _from_provider(self) -> _Ending:
        while True:
            try:
                message = await self._provider.receive()
            except (UpstreamError, SocketClosed) as error:
                return self._provider_ended(error)
            self._heard_at = self._sessions.now()
            told = self._ears.hear_provider(message)
            if told.type == TRANSCRIBED:
                self._add_transcription(told)
            if told.type == DONE:
                self._settle(told)
            elif (ending := await self._cover()) is not None:
                return ending
            try:
                await self._socket.send(message)
            except ClientGone:
                return _Ending(error=_CLIENT_GONE if self._ears.responding else None)
            if told.type == DONE and (ending := await self._next_turn()) is not None:
                return ending

    async def _watch(self) -> _Ending:
        """Ends a session in which nobody says anything, and one that lasts too long."""
        deadlines, now = self._deployment.deadlines, self._sessions.now
        began = now()
        while True:
            silent_s, whole_s = now() - self._heard_at, now() - began
            if whole_s >= deadlines.total_s:
                return _late(f"The session is over after {deadlines.total_s:g} s.", "session_expired")
            if silent_s >= deadlines.idle_s:
                return _late(f"Nothing was said for {deadlines.idle_s:g} s.", "session_idle")
            await asyncio.sleep(min(deadlines.idle_s - silent_s, deadlines.total_s - whole_s))

    def _provider_ended(self, error: Exception) -> _Ending:
        if isinstance(error, SocketClosed) and error.code in RELAYED_CODES:
            return _Ending(error.code, error.reason)
        failure = failure_of(error)
        failure.deployment = self._deployment.id
        self._deployment.health.last_error = failure.message
        return _Ending(close_codes.BROKEN, "the provider failed", failure)

    # --- money

    async def _cover(self) -> _Ending | None:
        """Holds the next seconds before more passes than is held for."""
        ears = self._ears
        if (ears.sent <= self._covered_in and ears.made <= self._covered_out) or not self._call.hold.amount:
            return None
        async with self._holding:
            sent, made = max(0, ears.sent - self._covered_in), max(0, ears.made - self._covered_out)
            if not (sent or made):
                return None
            sent, made = _rounded_up(sent, HELD_IN), _rounded_up(made, HELD_OUT)
            wanted = further_bound(self._call, sent, made)
            holds: Holds = self._call.hold
            budgets, accounts = self._sessions.budgets, holds.first.accounts
            try:
                _refuse_for_good(accounts, holds.amount + wanted, self._call)
                hold = budgets.take_now(accounts, wanted, self._sessions.wall())
                hold = hold or await budgets.take(accounts, wanted, max(1, wanted))
                holds.add(hold, self._sessions.wall())  # the turn may be over by now
            except Rejection as error:
                return _Ending(close_codes.POLICY, error.type, error)
            self._covered_in += sent
            self._covered_out += made
            return None

    def _settle(self, told: Told) -> None:
        """A response is over: its turn is charged and written down, before the client sees that."""
        reply = self._reply
        usage = told.usage
        if usage is None:
            usage, reply.usage_source = self._ears.unsaid(), USAGE_ESTIMATED
        reply.reply_id = told.response_id
        self._charge(usage)
        self._ears.begin_turn(usage)
        reply.settle()

    async def _next_turn(self) -> _Ending | None:
        before = self._call
        call = self._begin()
        _follow(call, before)
        async with self._holding:
            try:
                self._reply = await self._sessions.following(call)
            except PublicError as error:
                return _Ending(close_codes.POLICY, error.type, error)
            self._take_over(call)
        return await self._cover()  # the client may have gone on talking

    def _take_over(self, call: Call) -> None:
        self._call = call
        call.hold = Holds(call.hold)
        self._covered_in, self._covered_out = HELD_IN, HELD_OUT

    def _add_transcription(self, told: Told) -> None:
        """What is heard may be written down by another model, at its own price: an attempt of the turn's."""
        call, deployment = self._call, self._deployment
        name = self._ears.transcriber
        facts = call.snapshot.catalog.find(deployment.provider.name, name) if name else None
        if told.usage is None or facts is None or facts.price is None:
            self._reply.cost_known = False
            return
        cost = cost_of(told.usage, facts.price.at(self._sessions.wall()))
        attempt = Attempt(deployment.id, deployment.provider.name, 101, usage=told.usage, cost=cost)
        call.attempts.insert(0, attempt)

    def _charge(self, usage: Usage) -> None:
        reply, price = self._reply, self._deployment.price
        reply.usage = usage
        reply.tokens = usage.input_total + usage.output_total
        self._tokens += reply.tokens
        cost = Cost()
        if price is None:
            reply.cost_known = False
        else:
            price = price.at(self._sessions.wall())
            cost = cost_of(usage, price)
            reply.price_version = price.version
        if reply.attempt is not None:
            reply.attempt.usage, reply.attempt.cost = usage, cost
        aside = self._call.cost_of_attempts() - cost.total
        reply.cost = cost if not aside else Cost(cost.total + aside, cost.input, cost.output, cost.cache_read)

    def _settle_last(self, ending: _Ending) -> None:
        """The turn that no response ended; with a response at work in it, what was heard of that is charged."""
        reply = self._reply
        if reply.settled:
            return
        reply.failure = ending.error
        if self._ears.responding or self._call.cost_of_attempts():
            used = self._ears.unsaid() if self._ears.responding else Usage()
            reply.usage_source = USAGE_ESTIMATED
            self._charge(used)
        reply.settle()

    async def _say_goodbye(self, ending: _Ending) -> None:
        if ending.error is not None and ending.error is not _CLIENT_GONE:
            self._provider.close(close_codes.NORMAL)
            try:
                await self._socket.send(_error_event(self._call, ending.error))
            except ClientGone:
                return
        code = ending.code if ending.code in RELAYED_CODES else close_codes.BROKEN
        await self._socket.close(code, ending.reason)


# --- pieces --------------------------------------------------------------------------------------------------------


def _read_request(call: Call, offered: list[str]) -> None:
    """The model in the query, a key that a browser could put nowhere but into a subprotocol. Raises BadRequest."""
    call.encoded = Ears()
    call.streaming = True
    call.session_id = call.id  # the rows of its turns are found by it
    query = parse_qs(call.scope.get("query_string", b"").decode("latin-1"))
    call.model_asked = (query.get("model") or query.get("deployment") or [""])[0]
    key = key_offered(offered)
    if key is not None and not any(name in KEY_HEADERS for name, _ in call.headers):
        call.headers = [*call.headers, (b"authorization", b"Bearer " + key)]
    if not call.model_asked and not call.snapshot.config.single_model:
        raise BadRequest("you must provide a model parameter", param="model")


def _follow(call: Call, before: Call) -> None:
    """The next turn of the same session: asked by the same client, of the same model, at the same deployment."""
    call.headers = before.headers
    call.model_asked = before.model_asked
    call.deployment = before.deployment
    call.encoded = before.encoded
    call.streaming = True
    call.session_id = before.session_id


def _refuse_for_good(accounts: Sequence[Account], wanted: int, call: Call) -> None:
    """Raises BudgetExceeded where a budget has no room for what this session holds and wants, whatever others give back."""
    for account in accounts:
        if account.limit is not None and account.limit - account.spent < wanted:
            raise BudgetExceeded(
                f"Budget has been exceeded! {account.label} Current cost: {usd(account.spent)}, Max budget: "
                f"{usd(account.limit)}. Going on with this session could cost {usd(wanted)}.",
                status=call.snapshot.config.money.budget_exceeded_status,
                retryable_by_client=False,
            )


def _rounded_up(tokens: int, step: int) -> int:
    return -(-tokens // step) * step


def _late(message: str, code: str) -> _Ending:
    return _Ending(close_codes.GOING_AWAY, code, UpstreamTimeout(message, code=code))


def _error_event(call: Call, error: PublicError) -> str:
    """https://platform.openai.com/docs/api-reference/realtime-server-events/error (2026-11-22)"""
    said = {"type": error.type, "code": error.code or error.type, "message": error.message, "param": error.param}
    return encode({"type": "error", "event_id": f"event_{call.id}", "error": {**said, "event_id": None}}).decode()


def _cannot_be_opened(deployment: Deployment) -> UpstreamAccountError:
    if deployment.missing is not None:
        return UpstreamAccountError(
            f"The model {deployment.model_name!r} cannot be called yet: {deployment.missing}.",
            deployment=deployment.id,
            retryable_by_client=False,
        )
    return UpstreamAccountError(
        f"The provider {deployment.provider.name!r} of model {deployment.model_name!r} does not offer realtime sessions.",
        deployment=deployment.id,
        status=400,
        type="invalid_request_error",
        retryable_by_client=False,
    )


_CLIENT_GONE = PublicError("Client disconnected the request", status=CLIENT_GONE_STATUS, type="client_gone")
