"""The nouns: what a client asked, who asks, one try at one deployment; what it used and what it cost is `tollway.usage`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tollway.usage import NO_COST, Cost, Usage, UsageDetails

__all__ = [
    "NO_COST",
    "USAGE_ESTIMATED",
    "USAGE_FROM_PROVIDER",
    "Attempt",
    "Call",
    "Cost",
    "Reply",
    "Secret",
    "Usage",
    "UsageDetails",
    "call_id",
    "ledger_key_of",
]


class Secret:
    """A value that has no printable form. `reveal()` is called where it is put on the wire, nowhere else.

    `is_bearer`: a token, shown as a bearer whatever it looks like.
    """

    __slots__ = ("_value", "is_bearer")

    def __init__(self, value: str, *, is_bearer: bool = False) -> None:
        self._value = value
        self.is_bearer = is_bearer

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not written anywhere")


#: Where a usage came from.
USAGE_FROM_PROVIDER = "provider"
USAGE_ESTIMATED = "estimated"


class Attempt:
    """One try at one deployment. `status` is the provider's, 0 where there was no answer."""

    __slots__ = ("cost", "deployment_id", "duration_us", "error", "provider", "status", "usage")

    def __init__(
        self,
        deployment_id: str,
        provider: str,
        status: int = 0,
        duration_us: int = 0,
        error: str = "",
        usage: Usage | None = None,
        cost: Cost | None = None,
    ) -> None:
        self.deployment_id = deployment_id
        self.provider = provider
        self.status = status
        self.duration_us = duration_us
        self.error = error
        self.usage = usage
        self.cost = cost


class Call:
    """What a client asked, from the first byte of its head to the end of its answer.

    Filled from top to bottom by the policies: `authenticate` sets `caller`, `read` sets `body` and what is in it,
    `allow_model` sets `model`. Money is nano-dollars, times are microseconds of the epoch (`*_us`) or monotonic seconds.
    """

    __slots__ = (
        "_id",
        "allowed_params",
        "attempts",
        "body",
        "body_model",
        "caller",
        "charges",
        "client_headers",
        "deployment",
        "drop_asked",
        "dropped",
        "dropped_by_caller",
        "encoded",
        "end_user",
        "epoch",
        "fallbacks_asked",
        "fallbacks_used",
        "fields",
        "fields_sent",
        "first_byte_us",
        "form",
        "headers",
        "hold",
        "line",
        "metadata",
        "model",
        "model_asked",
        "modify_asked",
        "operation",
        "outbox",
        "output_tokens_max",
        "path",
        "recalled",
        "reply_pieces",
        "retries_asked",
        "retries_used",
        "route_model",
        "scope",
        "seq",
        "session_id",
        "shortened",
        "snapshot",
        "stall_s",
        "started",
        "started_us",
        "streaming",
        "tags",
        "timeout_s",
        "usage_wanted",
    )

    def __init__(
        self,
        *,
        seq: int,
        epoch: int,
        operation: Any,
        snapshot: Any,
        scope: Any,
        line: Any,
        started: float,
        started_us: int,
        path: str,
        headers: list[tuple[bytes, bytes]],
        route_model: str | None = None,
        body: bytes = b"",
    ) -> None:
        self.seq = seq
        self.epoch = epoch
        self.operation = operation
        self.snapshot = snapshot
        self.scope = scope
        self.line = line
        self.outbox: Any = None  # by which its answer leaves at the end of a turn of the event loop, behind its record
        self.started = started
        self.started_us = started_us
        self.path = path
        self.headers = headers
        self.route_model = route_model
        self.client_headers: dict[bytes, bytes] = {}
        self.caller: Any = None
        self.body = body
        self.fields: dict[str, Any] = {}
        self.fields_sent: dict[str, Any] = {}  # as they stand in `body`, where that may travel on as it came
        self.form: Any = None  # a multipart body taken apart; `fields` are empty then
        self.model: Any = None
        self.model_asked = ""
        self.body_model = ""
        self.deployment: Any = None  # the one that answers, or was tried last
        self.charges: list[Any] = []
        self.shortened = False
        self.reply_pieces: list[bytes] = []  # what the client got, where bodies are kept
        self.streaming = False
        self.usage_wanted = False
        self.output_tokens_max: int | None = None
        self.timeout_s: float | None = None
        self.stall_s: float | None = None
        self.retries_asked: int | None = None
        self.fallbacks_asked: list[str] | None = None
        self.drop_asked: bool | None = None
        self.modify_asked: bool | None = None
        self.allowed_params: tuple[
            str, ...
        ] = ()  # what the caller wants passed although the provider's dialect would drop it
        self.dropped_by_caller = 0  # so many of `dropped` are the caller's own wish; the others are what this try cost
        self.fallbacks_used = 0
        self.retries_used = 0
        self.attempts: list[Attempt] = []
        self.dropped: list[str] = []
        self.encoded: Any = None
        self.recalled: Any = (
            None  # what was answered earlier and this call goes on from; its `deployment_id` is the only one to ask
        )
        self.hold: Any = None
        self.first_byte_us = 0
        self.end_user = ""
        self.session_id = ""
        self.tags: list[str] = []
        self.metadata: Any = None
        self._id = ""

    @property
    def id(self) -> str:
        """The public id of the call: it is told in a header and found again in the spend rows."""
        if not self._id:
            self._id = call_id(self.epoch, self.seq)
        return self._id

    def cost_of_attempts(self) -> int:
        """Nano-dollars of all attempts so far."""
        return sum([attempt.cost.total for attempt in self.attempts if attempt.cost is not None])


def call_id(epoch: int, seq: int) -> str:
    """A call's public id: a UUID (version 8) that holds its ledger key, so that looking it up needs no index. 0.3 us."""
    return _id_without_end(epoch, seq >> 12) + _ID_ENDS[seq & 0xFFF]


@lru_cache(maxsize=64)
def _id_without_end(epoch: int, seq: int) -> str:
    """All but the last three digits: what four thousand calls have in common."""
    worker = f"{epoch >> 28 & 0xFFFFFFFF:08x}-{epoch >> 12 & 0xFFFF:04x}-8{epoch & 0xFFF:03x}"
    return f"{worker}-8{seq >> 36 & 0xFFF:03x}-{seq & 0xFFFFFFFFF:09x}"


_ID_ENDS = [f"{end:03x}" for end in range(0x1000)]


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


class Reply:
    """What goes back. It outlives the function that made it: what is owed hangs on two moments.

    *Settle*: usage is final; runs before the last bytes go out. *End*: the client has them, or is gone. Each callback runs
    exactly once, inner policies first. A callback of `on_settle` gets the reply; of `on_end` nothing.
    """

    __slots__ = (
        "attempt",
        "body",
        "cost",
        "cost_known",
        "cut_short",
        "deployment",
        "ended",
        "failure",
        "first",
        "goes_on",
        "head",
        "on_end",
        "on_settle",
        "output_bytes_held",
        "price_version",
        "relay",
        "reply_id",
        "settled",
        "status",
        "tokens",
        "usage",
        "usage_source",
        "wire",
    )

    def __init__(
        self,
        *,
        status: int,
        head: bytes,
        body: bytes | None,
        deployment: Any,
        attempt: Attempt | None,
        usage: Usage | None = None,
    ) -> None:
        self.status = status
        self.head = head  # header lines, each ended by CRLF
        self.body = body  # None: a stream, by `relay` from `wire`
        self.deployment = deployment
        self.attempt = attempt
        self.usage = usage
        self.relay: Any = None
        self.wire: Any = None
        self.tokens = 0  # of `usage`, in and out
        self.usage_source = USAGE_FROM_PROVIDER
        self.cost = NO_COST
        self.cost_known = True
        self.price_version = ""
        self.reply_id = ""
        self.failure: Any = None
        self.first = b""  # of a stream: what the client may have before more is read
        self.output_bytes_held = 1 << 62  # of a stream: what is held pays for so much output
        self.goes_on: Any = None  # asked when a stream has told more than that: more is held, or it must end
        self.cut_short = False  # it had to
        self.on_settle: list[Callable[[Reply], None]] = []
        self.on_end: list[Callable[[], None]] = []
        self.settled = False
        self.ended = False

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
        self.on_settle.clear()  # they know the reply: a ring that only the collector would find
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
            self.on_end.clear()
            self.goes_on = None
            if failed is not None:
                raise failed
