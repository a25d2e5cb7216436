"""Holds a caller to calls and tokens a minute, and to calls at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil

from tollway.calls import Call, Reply, Usage
from tollway.errors import RateLimited
from tollway.ledger.pace import Pace, Window
from tollway.policies import Step

#: A token is about this many bytes of text; the estimate is corrected when usage is known.
BYTES_PER_TOKEN = 4
#: A body up to this size is taken for text without looking: pictures and sound are larger.
PLAIN_BYTES_MAX = 1 << 20


def limit_rate(next: Step, clock: Callable[[], float], wall: Callable[[], float]) -> Step:
    """Refuses a call above the caller's pace. Tokens are taken by an estimate of the input and corrected at the end; the
    place among parallel calls is given back when the client has its answer. The caller's own output limit is never touched."""

    async def step(call: Call) -> Reply:
        key = call.caller.key
        pace = key.pace if key is not None else None
        whole: Pace | None = call.snapshot.gateway_pace
        if pace is None and whole is None:
            return await next(call)
        now = clock()
        tokens = estimate(call)
        taken: list[Pace] = []
        try:
            if whole is not None:
                take(whole, tokens, now, "the gateway", wall)
                taken.append(whole)
            if pace is not None and key is not None:
                take(pace, tokens, now, f"api_key: {key.digest.hex()}", wall)
                taken.append(pace)
            reply = await next(call)
        except BaseException:
            for each in taken:
                each.parallel -= 1
                if each.tokens is not None:
                    each.tokens.correct(-tokens, clock())
            raise
        if pace is not None and pace.tokens is not None:
            reply.on_settle.append(lambda reply: correct(pace, reply, tokens, clock()))
        reply.on_end.append(lambda: leave(taken))
        return reply

    return step


def estimate(call: Call) -> int:
    """Tokens of a call's input: by its bytes where it is text, by what the media in it can count at most where it is large."""
    if len(call.body) <= PLAIN_BYTES_MAX:
        return len(call.body) // BYTES_PER_TOKEN
    usage: Usage = call.operation.input_bound(call, 0)
    return usage.input_total // 2  # bounds take a token for two bytes


def take(pace: Pace, tokens: int, now: float, name: str, wall: Callable[[], float]) -> None:
    """Takes a call's place, or raises RateLimited and takes nothing."""
    if pace.parallel_max is not None and pace.parallel >= pace.parallel_max:
        raise _refusal("max_parallel_requests", name, pace.parallel_max, 1.0, wall)
    requests = pace.requests
    if requests is not None and not requests.take(1, now):
        raise _refusal("requests", name, requests.limit, requests.wait_s(1, now), wall)
    if pace.tokens is not None and not pace.tokens.take(tokens, now):
        if requests is not None:
            requests.correct(-1, now)
        raise _refusal("tokens", name, pace.tokens.limit, pace.tokens.wait_s(tokens, now), wall)
    pace.parallel += 1


def correct(pace: Pace, reply: Reply, taken: int, now: float) -> None:
    window: Window | None = pace.tokens
    if window is not None and reply.usage is not None:
        window.correct(reply.usage.input_total + reply.usage.output_total - taken, now)


def leave(taken: list[Pace]) -> None:
    for pace in taken:
        pace.parallel -= 1


def _refusal(kind: str, name: str, limit: int, wait_s: float, wall: Callable[[], float]) -> RateLimited:
    seconds = max(1, ceil(wait_s))
    resets = datetime.fromtimestamp(wall() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return RateLimited(
        f"Rate limit exceeded for {name}. Limit type: {kind}. Current limit: {limit}, Remaining: 0. "
        f"Limit resets at: {resets}",
        headers=(
            (b"retry-after", str(seconds).encode()),
            (b"rate_limit_type", kind.encode()),
            (b"reset_at", resets.encode()),
            (f"x-ratelimit-api_key-limit-{kind}".encode(), str(limit).encode()),
            (f"x-ratelimit-api_key-remaining-{kind}".encode(), b"0"),
        ),
    )
