"""What is written down of one finished call: the journal's record, stored as it is and read again when somebody asks.

A record is msgpack, an array without names. Fields are only ever added at the end, with a default, so that an old
record can be read by a new program; `version` rises when a field changes its meaning.
"""

from __future__ import annotations

from msgspec import Struct, msgpack

from tollway.calls import Cost, Usage

RECORD_VERSION = 1


class AttemptRecord(Struct, array_like=True, frozen=True, gc=False):
    """One try at one deployment. `status` is the provider's, 0 when none came; `duration_us` runs to its end or
    failure.
    """

    deployment_id: str
    provider: str
    status: int
    duration_us: int
    cost_nano: int


class BodyRef(Struct, array_like=True, frozen=True, gc=False):
    """Where the stored request and reply bodies of a call lie."""

    segment: int
    offset: int
    length: int


class CallRecord(Struct, array_like=True, frozen=True, gc=False):
    """One settled call. Times are microseconds since 1970 UTC, money is nano-dollars.

    `key` is the virtual key's SHA-256, None for the master key. `model` is the public name that was asked for,
    `model_group` the one that served, `provider_model` the deployment's model as written in the configuration.
    `request_id` is the provider's and may repeat; (epoch, seq) never does. `error_message` is cut to 500 characters and
    holds no secret. `metadata` is the client's own, the bytes of a JSON object, or empty. `held_nano` is what was set
    aside before; `over_hold` says that the cost went above it.
    """

    epoch: int
    seq: int
    started_us: int
    ended_us: int
    version: int = RECORD_VERSION
    first_byte_us: int = 0  # 0: no byte came
    key: bytes | None = None
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    end_user: str | None = None
    call_type: str = "acompletion"
    path: str = ""
    model: str = ""
    model_group: str = ""
    deployment_id: str = ""
    provider: str = ""
    provider_model: str = ""
    api_base: str = ""  # without its query
    request_id: str = ""
    session_id: str = ""
    status_code: int = 200
    error_type: str = ""
    error_message: str = ""
    usage: Usage | None = None
    usage_source: str = ""
    cost: Cost = Cost()
    cost_known: bool = True  # False: unpriced
    price_version: str = ""
    held_nano: int = 0
    over_hold: bool = False
    streamed: bool = False
    retries: int = 0
    fallbacks: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: bytes = b""
    client_ip: str = ""
    user_agent: str = ""
    cache_hit: bool = False
    body_ref: BodyRef | None = None
    #: The budgets that the cost counts against: (scope, id, period start in microseconds, nano-dollars).
    charges: tuple[tuple[str, str, int, int], ...] = ()

    @property
    def failed(self) -> bool:
        return self.status_code >= 400


encode_record = msgpack.Encoder().encode
decode_record = msgpack.Decoder(CallRecord).decode
