"""The nouns: what a client asked, who asks, one try at one deployment, what it used and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from msgspec import Struct


class Secret:
    """A value that has no printable form. `reveal()` is called where it is put on the wire, nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not written anywhere")


class Usage(Struct, array_like=True, frozen=True, gc=False):
    """What one attempt used, in disjoint buckets: no token stands in two, and the sums equal the provider's totals.

    Tokens, except `images` (pieces), `searches` (calls), `characters`, `seconds` (of audio), `queries` (rerank units).
    """

    input: int = 0  # uncached text
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    output: int = 0  # text, without reasoning
    reasoning: int = 0
    audio_out: int = 0
    image_out: int = 0
    searches: int = 0
    images: int = 0
    characters: int = 0
    seconds: float = 0.0
    queries: int = 0
    service_tier: str = ""  # the tier that was served: "", "priority", "flex", "batch"

    @property
    def input_total(self) -> int:
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_in + self.image_in

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning + self.audio_out + self.image_out


class Cost(Struct, array_like=True, frozen=True, gc=False):
    """Whole nano-dollars. `total` is rounded once, half-even; the parts are for showing and may differ from it by rounding."""

    total: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    tools: int = 0


NO_COST = Cost()

#: Where a usage came from.
USAGE_FROM_PROVIDER = "provider"
USAGE_ESTIMATED = "estimated"


class Attempt(Struct, gc=False):
    """One try at one deployment. `status` is the provider's, 0 where there was no answer."""

    deployment_id: str
    provider: str
    status: int = 0
    duration_us: int = 0
    error: str = ""
    usage: Usage | None = None
    cost: Cost | None = None


class Call(Struct, kw_only=True, eq=False):
    """What a client asked, from the first byte of its head to the end of its answer.

    Filled from top to bottom by the policies: `authenticate` sets `caller`, `read` sets `body` and what is in it,
    `allow_model` sets `model`. Money is nano-dollars, times are microseconds of the epoch (`*_us`) or monotonic seconds.
    """

    seq: int
    epoch: int
    operation: Any
    snapshot: Any
    scope: Any
    line: Any
    started: float
    started_us: int
    path: str
    headers: list[tuple[bytes, bytes]]
    route_model: str | None = None
    client_headers: dict[bytes, bytes] = {}
    caller: Any = None
    body: bytes = b""
    fields: dict[str, Any] = {}
    form: Any = None  # a multipart body taken apart; `fields` are empty then
    model: Any = None
    model_asked: str = ""
    body_model: str = ""
    deployment: Any = None  # the one that answers, or was tried last
    charges: list[Any] = []
    shortened: bool = False
    reply_pieces: list[bytes] = []  # what the client got, where bodies are kept
    streaming: bool = False
    usage_wanted: bool = False
    output_tokens_max: int | None = None
    timeout_s: float | None = None
    stall_s: float | None = None
    retries_asked: int | None = None
    fallbacks_asked: list[str] | None = None
    drop_asked: bool | None = None
    fallbacks_used: int = 0
    retries_used: int = 0
    attempts: list[Attempt] = []
    dropped: list[str] = []
    encoded: Any = None
    hold: Any = None
    first_byte_us: int = 0
    end_user: str = ""
    session_id: str = ""
    tags: list[str] = []
    metadata: Any = None
    user_agent: str = ""

    @property
    def id(self) -> str:
        """The public id of the call: it is told in a header and found again in the spend rows."""
        return call_id(self.epoch, self.seq)

    def cost_of_attempts(self) -> int:
        """Nano-dollars of all attempts so far."""
        return sum(attempt.cost.total for attempt in self.attempts if attempt.cost is not None)


def call_id(epoch: int, seq: int) -> str:
    """A call's public id: a UUID (version 8) that holds its ledger key, so that looking it up needs no index. 0.4 us."""
    return f"{_id_of_worker(epoch, seq >> 48)}{seq & 0xFFFFFFFFFFFF:012x}"


@lru_cache(maxsize=64)
def _id_of_worker(epoch: int, seq_high: int) -> str:
    return f"{epoch >> 28 & 0xFFFFFFFF:08x}-{epoch >> 12 & 0xFFFF:04x}-8{epoch & 0xFFF:03x}-8{seq_high & 0xFFF:03x}-"


def ledger_key_of(id: str) -> tuple[int, int] | None:
    """The (epoch, seq) in a call id of ours, or None if it is not one."""
    parts = id.split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or parts[2][0] != "8" or parts[3][0] != "8":
        return None
    try:
        epoch = int(parts[0], 16) << 28 | int(parts[1], 16) << 12 | int(parts[2][1:], 16)
        return epoch, int(parts[3][1:], 16) << 48 | int(parts[4], 16)
    except ValueError:
        return None


class Reply(Struct, kw_only=True, eq=False):
    """What goes back. It outlives the function that made it: what is owed hangs on two moments.

    *Settle*: usage is final; runs before the last bytes go out. *End*: the client has them, or is gone. Each callback runs
    exactly once, inner policies first. A callback of `on_settle` gets the reply; of `on_end` nothing.
    """

    status: int
    head: bytes  # header lines, each ended by CRLF
    body: bytes | None  # None: a stream, by `relay` from `wire`
    deployment: Any
    attempt: Attempt | None
    relay: Any = None
    wire: Any = None
    usage: Usage | None = None
    usage_source: str = USAGE_FROM_PROVIDER
    cost: Cost = NO_COST
    cost_known: bool = True
    price_version: str = ""
    reply_id: str = ""
    failure: Any = None
    first: bytes = b""  # of a stream: what the client may have before more is read
    on_settle: list[Callable[[Reply], None]] = []
    on_end: list[Callable[[], None]] = []
    settled: bool = False
    ended: bool = False

    def settle(self) -> None:
        if self.settled:
            return
        self.settled = True
        failed: Exception | None = None
        for callback in self.on_settle:
            try:
                callback(self)
            except Exception as error:  # one that fails must not keep the others from charging and writing down
                failed = failed or error
        if failed is not None:
            raise failed

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        try:
            self.settle()
        finally:
            if self.wire is not None:
                self.wire.close()
            failed: Exception | None = None
            for callback in self.on_end:
                try:
                    callback()
                except Exception as error:  # one that fails must not keep the others from giving back what they took
                    failed = failed or error
            if failed is not None:
                raise failed
