"""Holds a caller to calls and tokens a minute, and to calls at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil

from tollway.calls import Call, Reply, Usage
from tollway.errors import RateLimited
from tollway.ledger.pace import REQUESTS, TOKENS, Pace
from tollway.policies import Step
from tollway.snapshot import Caller, Paced, Snapshot

#: A token is about this many bytes of text; the estimate is corrected when usage is known.
BYTES_PER_TOKEN = 4
#: A body up to this size is taken for text without looking: pictures and sound are larger.
PLAIN_BYTES_MAX = 1 << 20


def limit_rate(next: Step, clock: Callable[[], float], wall: Callable[[], float]) -> Step:
    """Refuses a call above the caller's pace. Tokens are taken by an estimate of the input and corrected at the end; the
    place among parallel calls is given back when the client has its answer. The caller's own output limit is never touched."""

    async def step(call: Call) -> Reply:
        caller: Caller = call.caller
        snapshot: Snapshot = call.snapshot
        paces = caller.key.paces if caller.key is not None else ()
        if snapshot.paces_others:
            paces = _with_others(call, paces)
        if not paces:
            return await next(call)
        place = Place(estimate(call), clock)
        if snapshot.paced_tokens != "total":
            place.count(snapshot.paced_tokens)
        try:
            for paced in paces:
                full = place.try_take(paced.pace)
                if full is not None:
                    await place.wait(paced.pace, full, paced, wall)
        except BaseException:
            place.take_back()
            raise
        try:
            reply = await next(call)
        except BaseException:
            place.give_up()
            raise
        reply.on_settle.append(place.correct)
        reply.on_end.append(place.leave)
        return reply

    return step


def _with_others(call: Call, paces: tuple[Paced, ...]) -> tuple[Paced, ...]:
    """With the paces that only some calls of a caller count against: those of the gateway as a whole, the model, the end user
    and the tags.
    """
    snapshot, key, model = call.snapshot, call.caller.key, call.model.name
    tags: Sequence[str] = call.tags
    if snapshot.gateway_pace is not None:
        paces = (Paced("gateway", "", snapshot.gateway_pace), *paces)
    if not snapshot.others.has_paces:
        return paces
    if key is not None:
        paces += key.model_paces.get(model, ())
        tags = (*key.tags, *tags)
    if call.end_user and (customer := snapshot.others.customer(call.end_user)) is not None:
        paces += customer.standing.paces + customer.standing.model_paces.get(model, ())
    for tag in dict.fromkeys(tags):
        standing = snapshot.others.tags.get(tag)
        if standing is not None:
            paces += standing.paces + standing.model_paces.get(model, ())
    return paces


class Place:
    """What a call has taken of the paces that it counts against."""

    __slots__ = ("_at", "_clock", "_counted", "_taken", "_tokens")

    def __init__(self, tokens: int, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._at = 0.0
        self._taken: list[Pace] = []
        self._counted = ""

    def count(self, counted: str) -> None:
        """Paces count a call's "input" or "output" tokens alone. How many it will put out nobody knows before."""
        self._counted = counted
        if counted == "output":
            self._tokens = 0

    def try_take(self, pace: Pace) -> str | None:
        """Takes a place, or takes nothing of this pace and says which limit has no room."""
        now = self._clock()
        full = pace.take(self._tokens, now)
        if full is None:
            if not self._taken:
                self._at = now  # given back to this moment, none that was taken later frees what others used before
            self._taken.append(pace)
        return full

    async def take(self, pace: Pace, whose: Paced | str, wall: Callable[[], float]) -> None:
        """As `wait`, if it has to. `whose` may be a text for people."""
        full = self.try_take(pace)
        if full is not None:
            await self.wait(pace, full, whose, wall)

    async def wait(self, pace: Pace, full: str, whose: Paced | str, wall: Callable[[], float]) -> None:
        """Takes a place of what others share, for which this process has to ask. Raises RateLimited when there is none, and
        Unavailable when nobody knows and calls are to be refused then.
        """
        sharing = pace.sharing
        if sharing is not None:
            until = sharing.begin()
            while await sharing.more(pace, full, self._tokens if full == TOKENS else 1, until):
                still = self.try_take(pace)
                if still is None:
                    return
                full = still
        raise _refusal(pace, full, self._tokens, whose, self._clock(), wall)

    def correct(self, reply: Reply) -> None:
        """Usage is known: what was estimated gives way to it."""
        usage = reply.usage
        if usage is not None:
            tokens = reply.tokens
            if self._counted:
                tokens = usage.input_total if self._counted == "input" else usage.output_total
            self._add(tokens - self._tokens)

    def give_up(self) -> None:
        """There is no reply. That it was asked for counts."""
        self._add(-self._tokens)
        self.leave()

    def take_back(self) -> None:
        """The call was turned away before anybody was asked: it counts nowhere."""
        now = self._clock()
        for pace in self._taken:
            if pace.requests is not None:
                pace.requests.correct(-1, now, self._at)
        self.give_up()

    def leave(self) -> None:
        for pace in self._taken:
            pace.parallel -= 1

    def _add(self, tokens: int) -> None:
        now = self._clock()
        for pace in self._taken:
            window = pace.tokens
            if window is not None:
                window.correct(tokens, now, self._at)
                if window.used > window.share and pace.sharing is not None:
                    pace.sharing.overdrawn(pace, TOKENS)


def estimate(call: Call) -> int:
    """Tokens of a call's input: by its bytes where it is text, by what the media in it can count at most where it is large."""
    if len(call.body) <= PLAIN_BYTES_MAX:
        return len(call.body) // BYTES_PER_TOKEN
    usage: Usage = call.operation.input_bound(call, 0)
    return usage.input_total // 2  # bounds take a token for two bytes


def _refusal(
    pace: Pace, kind: str, tokens: int, whose: Paced | str, now: float, wall: Callable[[], float]
) -> RateLimited:
    scope, name = ("api_key", whose) if isinstance(whose, str) else (whose.scope, f"{whose.scope}: {whose.id}")
    if scope == "gateway":
        name = "the gateway"
    limit, wait_s = pace.parallel_max or 0, 1.0
    window = pace.window(kind)
    if window is not None:
        limit, wait_s = window.limit, window.wait_s(1 if kind == REQUESTS else tokens, now)
        elsewhere_s = pace.sharing.frees_s(pace, kind) if pace.sharing is not None else None
        if elsewhere_s is not None:
            wait_s = min(wait_s, elsewhere_s)
    seconds = max(1, ceil(wait_s))
    resets = datetime.fromtimestamp(wall() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return RateLimited(
        f"Rate limit exceeded for {name}. Limit type: {kind}. Current limit: {limit}, Remaining: 0. "
        f"Limit resets at: {resets}",
        headers=(
            (b"retry-after", str(seconds).encode()),
            (b"rate_limit_type", kind.encode()),
            (b"reset_at", resets.encode()),
            (f"x-ratelimit-{scope}-limit-{kind}".encode(), str(limit).encode()),
            (f"x-ratelimit-{scope}-remaining-{kind}".encode(), b"0"),
        ),
    )
