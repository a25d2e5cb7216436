"""The life of one call, top to bottom.

`ORDER` is the list of steps that every call passes, outermost first, with the reason for its place beside each. The chain is
composed once, at start; below it stand three functions named by what is left to do:

    reply_with_fallbacks -> reply_with_retries -> reply_once

and after it `deliver`, which brings the reply to the client. Until the first content byte goes out, any failure moves on to the
next deployment or fallback. After it the client gets its dialect's own error event.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from math import ceil
from random import random
from typing import Any

from msgspec.structs import replace

from tollway.calls import USAGE_ESTIMATED, USAGE_FROM_PROVIDER, Attempt, Call, Cost, Reply, Usage
from tollway.dialects import Relay
from tollway.downstream.line import ClientGone
from tollway.errors import (
    BadRequest,
    BudgetExceeded,
    ContentPolicyViolation,
    ContextWindowExceeded,
    PublicError,
    RateLimited,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
)
from tollway.ledger.budgets import NANO, Budgets
from tollway.ledger.ledger import Ledger
from tollway.ledger.pace import Pace
from tollway.operations import STREAM_HEAD
from tollway.policies import Step
from tollway.policies.allow_model import allow_model
from tollway.policies.authenticate import authenticate
from tollway.policies.fetch_media import fetch_media
from tollway.policies.hold_budget import SURE_BYTES_PER_TOKEN, hold_budget, hold_for_deployment
from tollway.policies.limit_rate import Place, estimate, limit_rate
from tollway.policies.read import read
from tollway.policies.report import CLIENT_GONE, CLIENT_GONE_STATUS, Report, report
from tollway.pricing.cost import cost_of
from tollway.routing.choice import choose
from tollway.snapshot import Caller, Deployment, Model
from tollway.storage.bodies import Bodies
from tollway.upstream.wire import Deadlines, Upstream, WireReply

log = logging.getLogger("tollway")

#: Waits between tries at the only deployment of a model: short, because somebody is waiting. The provider may ask for more.
RETRY_PAUSE_S_FIRST = 0.2
RETRY_PAUSE_S_MAX = 4.0
#: A provider that asks for a longer pause than this is not waited for: the caller is told, or a fallback is tried.
RETRY_AFTER_S_MAX = 10.0
#: A provider that says it used more than this in one call is not believed.
TOKENS_MAX = 10_000_000_000
#: The finishing chunk of a stream waits this long for the usage that is to ride on it.
USAGE_WAIT_MS_MAX = 2000
HEAD = b"%b%bx-litellm-call-id: %b\r\n%bx-litellm-response-duration-ms: %d.%03d\r\n"
COST = b"x-litellm-response-cost: %d.%09d\r\n"
SPENT = b"x-litellm-key-spend: %d.%09d\r\n"
COST_AND_SPENT = COST + SPENT
TRIES = b"x-litellm-attempted-retries: %d\r\nx-litellm-attempted-fallbacks: %d\r\n"
ONE_TRY = TRIES % (0, 0)
#: Headers of nearly every reply that say nothing to a client of ours: skipped first.
COMMON_HEADERS = frozenset(
    {
        b"connection",
        b"content-length",
        b"content-type",
        b"date",
        b"keep-alive",
        b"server",
        b"transfer-encoding",
        b"vary",
    }
)
RELAYED_HEADERS = frozenset(
    {
        b"anthropic-organization-id",
        b"cf-ray",
        b"openai-organization",
        b"openai-processing-ms",
        b"openai-project",
        b"openai-version",
        b"request-id",
        b"retry-after",
        b"x-request-id",
    }
)
UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

ORDER = (
    report,  # outermost: also sees the calls that the others turn away
    authenticate,  # needs the request head only: nobody unknown makes us read a body
    read,  # the body, bounded in bytes and time; below this line the call is complete
    allow_model,  # judges the resolved name, and each fallback again unless the configuration named it
    limit_rate,
    fetch_media,  # only for callers within their pace; below this line a call says all it says in bytes, and is held for so
    hold_budget,  # holds an upper bound; the real cost is charged when usage is final
)


class Gateway:
    """Answers calls. Owns nothing: it is handed what lives long by `app.py`."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        ledger: Ledger,
        budgets: Budgets,
        told: Report,
        dialects: dict[str, Any],
        bodies: Bodies | None = None,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float] = random,
    ) -> None:
        self._upstream = upstream
        self._budgets = budgets
        self._dialects = dialects
        self._keep = bodies is not None
        self._now = monotonic
        self._wall = wall
        self._chance = chance
        takes: dict[Callable[..., Step], Callable[[Step], Step]] = {
            report: lambda next: report(next, ledger, told, bodies, monotonic),
            authenticate: lambda next: authenticate(next, wall),
            read: read,
            allow_model: allow_model,
            fetch_media: lambda next: fetch_media(next, upstream),
            limit_rate: lambda next: limit_rate(next, monotonic, wall),
            hold_budget: lambda next: hold_budget(next, budgets, wall),
        }
        step: Step = self.reply_with_fallbacks
        for policy in reversed(ORDER):
            step = takes[policy](step)
        self.reply = step

    # --- the whole of it

    async def serve(self, call: Call) -> None:
        """Answers one call on its line: the reply, or the error in the client's own dialect."""
        if call.line.gone:
            return
        call.line.cancel_when_gone()
        try:
            reply = await self.reply(call)
            if reply.body is not None:
                await self._deliver_whole(call, reply)
            else:
                await self._deliver_stream(call, reply)
        except PublicError as error:
            await call.line.answer(error.status, error_head(call, error), call.operation.dialect.encode_error(error))
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not call.line.gone:
                raise
        except Exception:  # a defect of ours: the client gets a proper error, the log gets the place
            log.exception("call %s failed inside the gateway", call.id)
            defect = PublicError("The gateway failed to serve this call; its log says why.")
            await call.line.answer(500, error_head(call, defect), call.operation.dialect.encode_error(defect))

    # --- below the policies

    async def reply_with_fallbacks(self, call: Call) -> Reply:
        model: Model = call.model
        if call.recalled is not None and call.recalled.deployment_id:
            model = model.only(call.recalled.deployment_id)  # nobody else knows what this call goes on from
        try:
            return await self.reply_with_retries(call, model)
        except UpstreamError as error:
            first = error
        except PublicError:
            raise
        tried = {model.name}
        last = first
        for name in self._fallbacks(call, model, first):
            other = call.snapshot.resolve(name)
            if other is None or other.name in tried:
                continue
            tried.add(other.name)
            call.fallbacks_used += 1
            try:
                return await self.reply_with_retries(call, other)
            except UpstreamError as error:
                last = error
            except BadRequest:
                continue  # its dialect has no words for something in this call: the caller asked another model
        # What the caller can act on is why its own model failed; but an overflow of a fallback says more than its outage.
        raise last if isinstance(last, ContextWindowExceeded) and first.retryable else first

    def _fallbacks(self, call: Call, model: Model, error: UpstreamError) -> tuple[str, ...]:
        if call.fallbacks_asked is not None:
            return tuple(call.fallbacks_asked)
        kind = "general"
        if isinstance(error, ContextWindowExceeded):
            kind = "context_window"
        elif isinstance(error, ContentPolicyViolation):
            kind = "content_policy"
        elif not error.retryable:
            return ()  # the caller's own mistake: another model would not mend it
        names: tuple[str, ...] = call.snapshot.fallbacks_of(model, kind)
        return names

    async def reply_with_retries(self, call: Call, model: Model) -> Reply:
        deployments = model.deployments
        deployment = choose(deployments, now=self._now(), chance=self._chance())
        try:
            return await self.reply_once(call, deployment)
        except UpstreamError as error:
            return await self._reply_elsewhere(call, model, deployment, error)

    async def _reply_elsewhere(self, call: Call, model: Model, failed: Deployment, error: UpstreamError) -> Reply:
        """The further tries: at other deployments at once, at the only one after a pause."""
        deployments = model.deployments
        tried: list[Deployment] = []
        retries_left = self._retries(call, failed)
        pause_s = RETRY_PAUSE_S_FIRST
        while True:
            self._note_failure(call, model, failed, error)
            tried.append(failed)
            elsewhere = len({id(d) for d in tried}) < len(deployments)
            if not error.retryable or retries_left <= 0:
                raise error
            if isinstance(error, UpstreamAccountError) and not elsewhere:
                raise error
            if not elsewhere:
                wanted = error.retry_after_s or 0.0
                if wanted > RETRY_AFTER_S_MAX:
                    raise error
                await asyncio.sleep(max(wanted, call.snapshot.config.routing.retry_after_s_min, pause_s))
                pause_s = min(pause_s * 2, RETRY_PAUSE_S_MAX)
            retries_left -= 1
            call.retries_used += 1
            failed = choose(deployments, now=self._now(), chance=self._chance(), tried=tried if elsewhere else ())
            try:
                return await self.reply_once(call, failed)
            except UpstreamError as again:
                error = again

    def _retries(self, call: Call, deployment: Deployment) -> int:
        if call.retries_asked is not None:
            return call.retries_asked
        retries = deployment.entry.retries
        return int(call.snapshot.config.routing.retries if retries is None else retries)

    def _note_failure(self, call: Call, model: Model, deployment: Deployment, error: UpstreamError) -> None:
        routing = call.snapshot.config.routing
        if not error.cools or not routing.cooldowns or (len(model.deployments) == 1 and not model.fallbacks):
            deployment.health.last_error = error.message
            return
        deployment.health.failed(
            self._now(),
            reason=error.message,
            at_once=isinstance(error, UpstreamRateLimited | UpstreamAccountError),
            allowed_fails=routing.allowed_fails,
            cooldown_s=deployment.entry.cooldown_s if deployment.entry.cooldown_s is not None else routing.cooldown_s,
            retry_after_s=error.retry_after_s,
        )

    def reply_once(self, call: Call, deployment: Deployment) -> Awaitable[Reply]:
        if deployment.missing is not None or call.operation.name not in deployment.heads:
            raise _cannot_be_called(call, deployment)
        call.deployment = deployment
        if (known := call.operation.answer(call, deployment)) is not None:
            return _at_once(known)
        if deployment.accounts:
            return self._reply_within_budget(call, deployment)
        if deployment.pace is not None:
            return self._reply_within_pace(call, deployment, deployment.pace)
        return self._reply(call, deployment)

    async def _reply_within_budget(self, call: Call, deployment: Deployment) -> Reply:
        """A deployment whose own budget, or its provider's, has no room for this call is passed by like one at its pace."""
        try:
            charge = await hold_for_deployment(call, deployment, self._budgets, self._wall)
        except (BudgetExceeded, RateLimited) as full:
            error = UpstreamRateLimited(full.message, deployment=deployment.id, headers=full.headers)
            error.cools = False
            raise error from full
        try:
            if deployment.pace is not None:
                reply = await self._reply_within_pace(call, deployment, deployment.pace)
            else:
                reply = await self._reply(call, deployment)
        except BaseException:
            charge(None)
            raise
        reply.on_settle.append(charge)
        return reply

    async def _reply_within_pace(self, call: Call, deployment: Deployment, pace: Pace) -> Reply:
        """A deployment at the limits that its configuration sets is passed by like one that answers 429, but not benched."""
        place = Place(estimate(call), self._now)
        try:
            await place.take(pace, f"deployment: {deployment.model_name}", self._wall)
        except RateLimited as full:
            error = UpstreamRateLimited(full.message, deployment=deployment.id, headers=full.headers)
            error.cools = False
            raise error from full
        try:
            reply = await self._reply(call, deployment)
        except BaseException:
            place.leave()
            raise
        reply.on_settle.append(place.correct)
        reply.on_end.append(place.leave)
        return reply

    async def _reply(self, call: Call, deployment: Deployment) -> Reply:
        attempt = Attempt(deployment.id, deployment.provider.name)
        call.attempts.append(attempt)
        started = self._now()
        request = call.operation.encode(call, deployment)
        try:
            if deployment.signer is not None:
                await deployment.signer.prepare(self._upstream)
                deployment.signer.sign(request)
            wire = await self._upstream.send(request, _deadlines(call, deployment))
        except UpstreamError as error:
            attempt.error = error.message
            attempt.duration_us = int((self._now() - started) * 1e6)
            error.deployment = deployment.id
            raise
        except asyncio.CancelledError:
            self._charge_cut(call, attempt, deployment, 0)
            raise
        attempt.status = status = wire.status
        if status >= 400:
            attempt.duration_us = int((self._now() - started) * 1e6)
            dialect = self._dialects[call.operation.spoken(deployment)]
            said: UpstreamError = dialect.decode_error(status, wire.headers, wire.body or b"", deployment.provider.name)
            wire.close()
            said.deployment = deployment.id
            attempt.error = said.provider_said or said.message
            raise said
        try:
            if wire.body is not None:
                reply: Reply = call.operation.decode(call, deployment, wire)
                wire.close()
            else:
                reply = await self._begin_stream(call, deployment, wire)
        except UpstreamError as error:
            wire.close()
            attempt.error = error.message
            attempt.duration_us = int((self._now() - started) * 1e6)
            error.deployment = deployment.id
            raise
        except asyncio.CancelledError:
            wire.close()
            self._charge_cut(call, attempt, deployment, 0)
            raise
        except BaseException:
            wire.close()
            raise
        now = self._now()
        attempt.duration_us = int((now - started) * 1e6)
        deployment.health.succeeded(now)
        call.first_byte_us = call.started_us + int((now - call.started) * 1e6)
        reply.attempt = attempt
        reply.head += relayed_head(wire.headers)
        if reply.body is not None:
            self._price(call, reply, deployment)
        return reply

    async def _begin_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        """Reads up to the first content byte, so that what fails before it can still go elsewhere."""
        reply: Reply
        if call.operation.streams_any:
            reply = call.operation.open_stream(call, deployment, wire)
        else:
            reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
            reply.relay = call.operation.relay(call, deployment)
        reply.wire = wire
        relay = reply.relay
        first = b""
        while not (relay.content_started or relay.finishing or relay.complete):
            data = await reply.wire.read()
            if not data:
                first += relay.end()
                if relay.content_started or relay.finishing:
                    break
                raise UpstreamBroken("The provider ended its stream before it said anything.")
            first += relay.feed(data)
        if relay.complete and not relay.finishing:
            raise UpstreamBroken("The provider ended its stream before its answer was complete.")
        reply.first = first
        return reply

    # --- money

    def _price(self, call: Call, reply: Reply, deployment: Deployment) -> None:
        """Final usage to cost: of the answering attempt, then of the call."""
        price = deployment.price
        usage = reply.usage
        if usage is not None:
            reply.tokens = usage.input_total + usage.output_total
        if usage is None or reply.tokens > TOKENS_MAX:
            usage = reply.usage = call.operation.estimate(call, reply)
            reply.tokens = usage.input_total + usage.output_total
            reply.usage_source = USAGE_ESTIMATED
        if price is None:
            price = call.operation.price(call, deployment)
        if price is None:
            reply.cost_known = False
            cost = Cost()
        else:
            price = price.at(self._wall())
            cost = cost_of(usage, price)
            reply.price_version = price.version
        attempt = reply.attempt
        if attempt is not None:
            attempt.usage = usage
            attempt.cost = cost
        if len(call.attempts) > 1:
            earlier = sum(a.cost.total for a in call.attempts if a.cost is not None and a is not attempt)
            if earlier:
                cost = _plus(cost, earlier)
        reply.cost = cost

    def _charge_cut(self, call: Call, attempt: Attempt, deployment: Deployment, output_tokens: int) -> None:
        """A call that its client cut is charged its input's bound: the provider has read it and will bill it."""
        if deployment.price is None:
            return
        attempt.error = "cut by the client"
        attempt.usage = call.operation.input_bound(call, output_tokens)
        attempt.cost = cost_of(attempt.usage, deployment.price.at(self._wall()))

    # --- to the client

    async def _deliver_whole(self, call: Call, reply: Reply) -> None:
        try:
            if self._keep:
                call.reply_pieces.append(reply.body or b"")
            reply.settle()
            await call.line.answer(reply.status, self._head(call, reply), reply.body or b"")
        finally:
            reply.end()

    async def _deliver_stream(self, call: Call, reply: Reply) -> None:
        line, relay, wire = call.line, reply.relay, reply.wire
        try:
            await line.begin(200, self._head(call, reply))
            out: bytes = reply.first
            while not (relay.finishing or relay.complete):
                if out:
                    if self._keep:
                        call.reply_pieces.append(out)
                    await line.write(out)
                data = await wire.read()
                if not data:
                    out = relay.end()
                    break
                out = relay.feed(data)
                if relay.output_bytes > reply.output_bytes_held and not (relay.finishing or reply.goes_on()):
                    out += relay.cut_short()
                    reply.cut_short = True
            if not relay.finishing:
                if out:
                    await line.write(out)
                raise UpstreamBroken("The provider's stream ended before its answer was complete.")
            await self._await_usage(relay, wire)
            reply.usage = relay.usage
            if reply.cut_short:
                self._estimate_cut_short(call, reply)
            reply.reply_id = relay.reply_id
            self._price(call, reply, reply.deployment)
            out += relay.finish(reply.usage, reply.cost if reply.cost_known else None)
            if self._keep:
                call.reply_pieces.append(out)
            reply.settle()
            await line.end(out)
        except UpstreamError as error:
            self._settle_broken(call, reply, error)
            last = relay.fail(error)
            if last is None:
                line.hang_up()  # no words for it: the client must not take half for whole
            else:
                await line.end(last)
        except (asyncio.CancelledError, ClientGone):
            self._settle_cut(call, reply)
            raise
        except Exception:  # a defect of ours: the log gets the place
            log.exception("call %s failed inside the gateway", call.id)
            self._settle_broken(
                call, reply, UpstreamBroken("The gateway failed to relay this stream; its log says why.")
            )
            line.hang_up()
        finally:
            reply.end()

    async def _await_usage(self, relay: Relay, wire: WireReply) -> None:
        """The finishing chunk waits for usage, the provider's end mark, the end, or two seconds, whichever comes first."""
        if relay.complete:
            return
        try:
            async with asyncio.timeout(USAGE_WAIT_MS_MAX / 1000):
                while not relay.complete:
                    data = await wire.read()
                    if not data:
                        return
                    relay.feed(data)
        except (TimeoutError, UpstreamError):
            return  # the answer itself is whole; its usage is what was seen, or an estimate

    def _estimate_cut_short(self, call: Call, reply: Reply) -> None:
        """A stream that was ended because nothing more could be held for it: what it was given is what is held, or what its
        provider has counted until then.
        """
        estimate: Usage = call.operation.estimate(call, reply)
        output = min(estimate.output, reply.output_bytes_held // SURE_BYTES_PER_TOKEN)
        seen: Usage | None = reply.usage  # some providers say in the beginning what they have read
        if seen is not None and seen.output_total >= output:
            return
        reply.usage = replace(estimate if seen is None else seen, output=output, reasoning=0)
        reply.usage_source = USAGE_ESTIMATED

    def _settle_broken(self, call: Call, reply: Reply, error: UpstreamError) -> None:
        """The provider broke after content went out: charged what it said it used, but no less output than was seen."""
        if reply.settled:
            return
        reply.failure = error
        error.deployment = reply.deployment.id
        reply.reply_id = reply.relay.reply_id
        seen: Usage | None = reply.relay.usage
        if seen is not None:
            # Some providers say in the beginning what they have read, and only in the end what they wrote.
            unsaid = call.operation.estimate(call, reply).output - seen.output_total
            if unsaid > 0:
                seen = replace(seen, output=seen.output + unsaid)
                reply.usage_source = USAGE_ESTIMATED
        reply.usage = seen
        self._price(call, reply, reply.deployment)
        reply.deployment.health.last_error = error.message
        reply.settle()

    def _settle_cut(self, call: Call, reply: Reply) -> None:
        """The client left: charged the greatest of the provider's last usage and the input's bound plus the output seen."""
        if reply.settled:
            return
        relay = reply.relay
        seen: Usage | None = relay.usage
        estimate = call.operation.estimate(call, reply)
        reply.usage = estimate
        reply.usage_source = USAGE_ESTIMATED
        price = reply.deployment.price
        price = price.at(self._wall()) if price is not None else None
        if seen is not None and (price is None or cost_of(seen, price).total >= cost_of(estimate, price).total):
            reply.usage, reply.usage_source = seen, USAGE_FROM_PROVIDER
        reply.reply_id = relay.reply_id
        reply.failure = _CLIENT_GONE
        self._price(call, reply, reply.deployment)
        reply.settle()

    def _head(self, call: Call, reply: Reply) -> bytes:
        """Our own response headers. About 1.5 us."""
        deployment: Deployment = reply.deployment
        caller: Caller = call.caller
        key = caller.key
        tries = ONE_TRY
        if call.retries_used or call.fallbacks_used:
            tries = TRIES % (call.retries_used, call.fallbacks_used)
        took_us = int((self._now() - call.started) * 1e6)
        head = HEAD % (
            reply.head,
            deployment.about_head,
            call.id.encode(),
            tries,
            took_us // 1000,
            took_us % 1000,
        )
        cost: int = reply.cost.total
        tells_cost = reply.body is not None and reply.cost_known
        if key is None:
            if tells_cost:
                head += COST % divmod(cost, NANO)
        else:
            account = key.spend_account
            spent: int = account.spent
            if tells_cost:
                head += COST_AND_SPENT % (cost // NANO, cost % NANO, spent // NANO, spent % NANO)
            else:
                head += SPENT % divmod(spent, NANO)
            if account.limit is not None:
                head += _max_budget_line(account.limit)
        if call.dropped:
            # Names of fields are the client's own words: nothing in them may end the header.
            head += b"x-tollway-dropped: %b\r\n" % UNPRINTABLE.sub("?", ",".join(dict.fromkeys(call.dropped))).encode()
        if call.shortened:
            head += b"x-tollway-output-limit: %d\r\n" % (call.output_tokens_max or 0)
        return head


@lru_cache(maxsize=1024)
def _max_budget_line(limit: int) -> bytes:
    return b"x-litellm-key-max-budget: %d.%09d\r\n" % divmod(limit, NANO)


def relayed_head(headers: list[tuple[bytes, bytes]]) -> bytes:
    """What of a provider's own headers reaches the client: an allow-list, under LiteLLM's prefix; limits also by their own name."""
    head = b""
    for name, value in headers:
        if name in COMMON_HEADERS:
            continue
        if name in RELAYED_HEADERS:
            head += b"llm_provider-%b: %b\r\n" % (name, value)
        elif name.startswith((b"x-ratelimit-", b"anthropic-ratelimit-")):
            head += b"%b: %b\r\nllm_provider-%b: %b\r\n" % (name, value, name, value)
    return head


def error_head(call: Call, error: PublicError) -> bytes:
    """The headers of an error answer: what it says about trying again, and the call's id."""
    head = b"content-type: application/json\r\nx-litellm-call-id: %b\r\n" % call.id.encode()
    for name, value in error.headers:
        head += b"%b: %b\r\n" % (name, value)
    if not error.retryable_by_client:
        head += b"x-should-retry: false\r\n"
    retry_after = getattr(error, "retry_after_s", None)
    if retry_after is not None:
        head += b"retry-after: %d\r\n" % max(1, ceil(retry_after))
    if call.retries_used or call.fallbacks_used:
        head += TRIES % (call.retries_used, call.fallbacks_used)
    return head


async def _at_once(reply: Reply) -> Reply:
    return reply


def _cannot_be_called(call: Call, deployment: Deployment) -> UpstreamError:
    if deployment.missing is not None:
        return UpstreamAccountError(
            f"The model {deployment.model_name!r} cannot be called yet: {deployment.missing}.",
            deployment=deployment.id,
            retryable_by_client=False,
        )
    not_offered = UpstreamAccountError(
        f"The provider {deployment.provider.name!r} of model {deployment.model_name!r} does not offer "
        f"{call.operation.name.replace('_', ' ')}.",
        deployment=deployment.id,
        status=400,
        type="invalid_request_error",
        retryable_by_client=False,
    )
    not_offered.cools = False  # what it does offer goes on: nobody else is harmed by who asks for the wrong thing
    return not_offered


def _deadlines(call: Call, deployment: Deployment) -> Deadlines:
    standing: Deadlines = deployment.deadlines
    if call.timeout_s is None and call.stall_s is None:
        return standing
    total_s = standing.total_s if call.timeout_s is None else min(standing.total_s, call.timeout_s)
    stall_s = min(standing.idle_s if call.stall_s is None else call.stall_s, total_s)
    return Deadlines(connect_s=min(standing.connect_s, total_s), first_byte_s=stall_s, idle_s=stall_s, total_s=total_s)


def _plus(cost: Cost, nano: int) -> Cost:
    return Cost(
        cost.total + nano, cost.input, cost.output, cost.cache_read, cost.cache_write, cost.reasoning, cost.tools
    )


_CLIENT_GONE = PublicError(CLIENT_GONE, status=CLIENT_GONE_STATUS, type="client_gone")
