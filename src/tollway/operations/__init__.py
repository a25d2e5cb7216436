"""What can be asked: how each kind of call is read, what it holds, how it goes to a provider and comes back.

An operation is one object with the names of the `Operation` protocol; endpoints only say which path means which operation.
"""

from __future__ import annotations

import json as careful_json
from functools import cache
from typing import Any, Protocol

from msgspec import DecodeError, Raw, ValidationError, convert
from msgspec.json import Decoder, encode

from tollway.calls import Call, Reply
from tollway.errors import BadRequest, Unauthenticated
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply, WireRequest

#: Fields that are meant for the gateway: consumed here, never forwarded.
GATEWAY_FIELDS = frozenset(
    {
        "additional_drop_params", "allowed_openai_params", "cache", "disable_fallbacks", "drop_params", "fallbacks",
        "guardrails", "litellm_call_id", "litellm_metadata", "litellm_session_id", "litellm_trace_id", "modify_params",
        "num_retries", "priority", "request_timeout", "stream_timeout", "tags", "timeout",
    }
)  # fmt: skip
#: Fields by which a client would choose where its call goes or with whose key: refused.
REFUSED_FIELDS = frozenset({"api_base", "api_key", "base_url", "user_config", "aws_endpoint_url", "mock_response"})
#: Of the gateway's fields, those that ask for what this gateway does not do: named in the answer's `x-tollway-dropped`.
WITHOUT_EFFECT = ("allowed_openai_params", "cache", "modify_params", "priority")
#: Nothing may drop these: without them there is no call.
KEPT_FIELDS = frozenset({"model", "messages", "stream"})
SPECIAL_FIELDS = GATEWAY_FIELDS | REFUSED_FIELDS
RETRIES_MAX = 10

_fields = Decoder(dict[str, Raw])
_text = Decoder(str)


class Operation(Protocol):
    """One kind of call. Methods are pure but for what they set on the call."""

    name: str  # one of providers.OPERATIONS
    call_type: str  # LiteLLM's word for it in spend rows
    dialect: Any  # how the client speaks: a module of tollway.dialects
    streams_any: bool  # a reply may be a stream of bytes that is not events (audio)

    def parse(self, call: Call) -> None:
        """Fills the call from its body. Raises BadRequest."""
        ...

    def bound(self, call: Call) -> tuple[int, int]:
        """(most, least) nano-dollars that the call can cost at the dearest price it can reach: as it was asked, and with the
        lowest output limit that a budget may impose."""
        ...

    def shorten(self, call: Call, nano: int) -> None:
        """Lowers the call's output limit so that it costs at most `nano` at the dearest price it can reach."""
        ...

    def encode(self, call: Call, deployment: Deployment) -> WireRequest: ...

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        """A whole answer. Raises UpstreamBroken."""
        ...


def decode_fields(body: bytes) -> dict[str, Raw]:
    """The top level of a JSON object body, values untouched. Raises BadRequest; also for a key that stands twice.

    About 0.3 us for 500 bytes, 20 us for 67 KB.
    """
    if not body:
        raise BadRequest("The request body is empty; expected a JSON object.", param="request_body")
    try:
        fields = _fields.decode(body)
    except DecodeError as error:
        raise BadRequest(f"Invalid JSON payload: {error}", param="request_body") from error
    if not _holds_each_once(fields, body):
        _refuse_twice(body)
    return fields


def _holds_each_once(fields: dict[str, Raw], body: bytes) -> bool:
    """Whether the body is just these members, one after the other. False may also mean: too unusual to say cheaply.

    A body written without a space has no byte to spare for a further member. Others are walked over by the lengths of keys
    and values; there a member that stands twice leaves bytes that no member explains: its first value is not the value that
    was kept, or its key is not the key that comes next.
    """
    if len(body) == 1 + sum([len(key) + len(bytes(value)) + 4 for key, value in fields.items()]):
        return True
    at = body.find(b"{") + 1
    if body[: at - 1].strip():
        return False
    for key, raw in fields.items():
        name = b'"%b"' % key.encode()
        at = _skip(body, at)
        if not body.startswith(name, at):
            return False
        at = _skip(body, at + len(name))
        if body[at : at + 1] != b":":
            return False
        at = _skip(body, at + 1)
        value = bytes(raw)
        if not body.startswith(value, at):
            return False
        at = _skip(body, at + len(value))
        mark = body[at : at + 1]
        at += 1
        if mark == b"}":
            return not body[at:].strip()
        if mark != b",":
            return False
    return not fields and body[_skip(body, at) :].strip() == b"}"


def _skip(body: bytes, at: int) -> int:
    while body[at : at + 1] in (b" ", b"\n", b"\r", b"\t"):
        at += 1
    return at


def _refuse_twice(body: bytes) -> None:
    """Raises BadRequest naming a key that stands twice at the top level. Slow; for bodies that look unusual."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            names = [name for name, _ in pairs]
            seen["\x00twice"] = next(name for name in names if names.count(name) > 1)
        return seen

    try:
        top = careful_json.loads(body, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Invalid JSON payload.", param="request_body") from error
    if "\x00twice" in top:
        raise BadRequest(f"The key {top[chr(0) + 'twice']!r} stands twice in the request body.", param="request_body")


def text_field(fields: dict[str, Raw], name: str) -> str:
    raw = fields.get(name)
    if raw is None:
        return ""
    try:
        return _text.decode(raw)
    except ValidationError as error:
        if bytes(raw) == b"null":
            return ""
        raise BadRequest(f"{name} must be a string.", param=name) from error


def value_of(fields: dict[str, Raw], name: str, type_: Any, expected: str) -> Any:
    """A small field decoded, or None. Raises BadRequest saying what was `expected`."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _decoder(type_).decode(raw)
    except (ValidationError, DecodeError) as error:
        raise BadRequest(f"{name} must be {expected}.", param=name) from error


@cache
def _decoder(type_: Any) -> Decoder[Any]:
    """One decoder for a type: making one costs 6 us, using it 0.1."""
    return Decoder(type_ | None)


def take_gateway_fields(call: Call, fields: dict[str, Raw]) -> None:
    """Consumes the fields that are for the gateway and refuses those that nobody may send. Costs 0.2 us when there are none."""
    if fields.keys().isdisjoint(SPECIAL_FIELDS):
        return
    for name in REFUSED_FIELDS:
        if name in fields:
            raise Unauthenticated(
                f"Authentication Error, Rejected Request: {name} is not allowed in request body. "
                "Upstream addresses and keys come from the gateway's configuration.",
                param=name,
            )
    if value_of(fields, "guardrails", list[Any], "a list"):
        raise BadRequest(
            "This gateway has no guardrails; a call that asks for one is not served without it.", param="guardrails"
        )
    _take_routing(call, fields)
    drops = value_of(fields, "additional_drop_params", list[str], "a list of field names")
    for name in drops or ():
        if name not in KEPT_FIELDS and fields.pop(name, None) is not None:
            call.dropped.append(name)
    call.drop_asked = value_of(fields, "drop_params", bool, "true or false")
    call.dropped.extend(name for name in WITHOUT_EFFECT if name in fields)
    call.tags.extend(value_of(fields, "tags", list[str], "a list of strings") or ())
    call.session_id = text_field(fields, "litellm_session_id") or call.session_id
    about = value_of(fields, "litellm_metadata", dict[str, Any], "an object")
    if about is not None:
        take_metadata(call, about)
    for name in GATEWAY_FIELDS:
        fields.pop(name, None)


def _take_routing(call: Call, fields: dict[str, Raw]) -> None:
    """How long to wait, how often to try, and where to go then."""
    timeout = value_of(fields, "timeout", float, "a number of seconds")
    if timeout is None:
        timeout = value_of(fields, "request_timeout", float, "a number of seconds")
    if timeout is not None:
        if timeout <= 0:
            raise BadRequest("timeout must be more than 0 seconds.", param="timeout")
        call.timeout_s = timeout
    stall = value_of(fields, "stream_timeout", float, "a number of seconds")
    if stall is not None:
        call.stall_s = max(0.001, stall)
    retries = value_of(fields, "num_retries", int, "a whole number")
    if retries is not None:
        call.retries_asked = max(0, min(retries, RETRIES_MAX))
    fallbacks = value_of(fields, "fallbacks", list[str | dict[str, Any]], "a list of model names")
    if fallbacks is not None:
        names = [f if isinstance(f, str) else str(f.get("model", "")) for f in fallbacks]
        call.fallbacks_asked = [name for name in names if name]
    if value_of(fields, "disable_fallbacks", bool, "true or false"):
        call.fallbacks_asked = []


def take_metadata(call: Call, metadata: dict[str, Any]) -> None:
    """Keeps a caller's own metadata for the spend row; `tags` in it become spend tags."""
    call.metadata = metadata
    tags = metadata.get("tags")
    if isinstance(tags, list):
        call.tags.extend(str(tag) for tag in tags)
    session = metadata.get("session_id") or metadata.get("trace_id")
    if isinstance(session, str):
        call.session_id = session


def raw(value: Any) -> Raw:
    return Raw(encode(value))


def convert_or(value: Any, type_: Any, otherwise: Any) -> Any:
    try:
        return convert(value, type_)
    except ValidationError:
        return otherwise
