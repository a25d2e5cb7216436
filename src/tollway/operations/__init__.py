"""What can be asked: how each kind of call is read, what it holds, how it goes to a provider and comes back.

An operation is one object with the names of the `Operation` protocol; endpoints only say which path means which operation.
"""

from __future__ import annotations

import json as careful_json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable
from functools import cache
from typing import Any, Protocol

from msgspec import DecodeError, Raw, ValidationError, convert
from msgspec.json import Decoder, encode

from tollway.calls import Call, Reply, Usage
from tollway.dialects.media import Asked, File, MediaWire
from tollway.errors import BadRequest, Unauthenticated
from tollway.multipart import Form, is_form, read_form
from tollway.operations.parameters import KEPT_FIELDS, PATHS_MAX, drop_paths, drops_asked
from tollway.pricing.price import Price
from tollway.providers.following import FollowedRequest
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
WITHOUT_EFFECT = ("cache", "priority")
SPECIAL_FIELDS = GATEWAY_FIELDS | REFUSED_FIELDS
#: Of the gateway's fields, those that hold a text even where it looks like a number.
TEXT_FIELDS = frozenset({"litellm_call_id", "litellm_session_id", "litellm_trace_id"})
RETRIES_MAX = 10

#: Shorter bodies are sooner written again than measured.
WALKED_BYTES_MIN = 4096

_fields = Decoder(dict[str, Raw])
_text = Decoder(str)


class Operation(Protocol):
    """One kind of call. Methods are pure but for what they set on the call."""

    name: str  # one of providers.OPERATIONS
    call_type: str  # LiteLLM's word for it in spend rows
    dialect: Any  # how the client speaks: a module of tollway.dialects
    streams_any: bool  # a stream may be anything that its content type tells: it is opened by `open_stream`

    def parse(self, call: Call) -> Awaitable[None] | None:
        """Fills the call from its body. Raises BadRequest. What it gives back must be awaited before the call is complete."""
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

    def estimate(self, call: Call, reply: Reply) -> Usage:
        """Usage of an answer whose provider did not say."""
        ...

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        """The most that a call may have used of which nothing is known but that it was sent."""
        ...

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        """The price of this very call where the deployment has none that holds for all."""
        ...

    def spoken(self, deployment: Deployment) -> str:
        """The dialect in which the deployment is asked, and tells its errors."""
        ...

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        """The reply that needs no provider; None where it must be asked."""
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

    A body written without a space is what its members give when they are written again. Others are walked over by the lengths
    of keys and values; there a member that stands twice leaves bytes that no member explains: its first value is not the value
    that was kept, or its key is not the key that comes next.
    """
    body = body.rstrip()
    if (len(body) < WALKED_BYTES_MIN or _tight_bytes(fields) == len(body)) and encode(fields) == body:
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
        value = memoryview(raw)
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


def _tight_bytes(fields: dict[str, Raw]) -> int:
    """How long they are without a space between them, if no key holds what must be escaped."""
    size = 1 + len(fields)  # braces and commas
    for key, raw in fields.items():
        size += len(key) + 3 + len(memoryview(raw))
    return size


def _skip(body: bytes, at: int) -> int:
    while body[at : at + 1] in (b" ", b"\n", b"\r", b"\t"):
        at += 1
    return at


def _refuse_twice(body: bytes) -> None:
    """Raises BadRequest naming a key that stands twice at the top level. Slow; for bodies that look unusual."""
    twice: str | None = None

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice  # objects end from the inside out: the last one is the top level
        names = [name for name, _ in pairs]
        whole = dict(pairs)
        twice = None if len(whole) == len(names) else next(name for name in names if names.count(name) > 1)
        return whole

    try:
        careful_json.loads(body, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Invalid JSON payload.", param="request_body") from error
    if twice is not None:
        raise BadRequest(f"The key {twice!r} stands twice in the request body.", param="request_body")


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
    if SPECIAL_FIELDS.isdisjoint(fields):
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
    call.dropped.extend(drop_paths(fields, drops_asked(drops)))
    call.drop_asked = value_of(fields, "drop_params", bool, "true or false")
    call.modify_asked = value_of(fields, "modify_params", bool, "true or false")
    allowed = value_of(fields, "allowed_openai_params", list[str], "a list of field names")
    call.allowed_params = tuple(allowed[:PATHS_MAX]) if allowed else ()
    call.dropped.extend(name for name in WITHOUT_EFFECT if name in fields)
    call.tags.extend(value_of(fields, "tags", list[str], "a list of strings") or ())
    call.session_id = text_field(fields, "litellm_session_id") or call.session_id
    about = value_of(fields, "litellm_metadata", dict[str, Any], "an object")
    if about is not None:
        take_metadata(call, about)
    for name in GATEWAY_FIELDS:
        fields.pop(name, None)
    call.dropped_by_caller = len(call.dropped)


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


# --- what passes through -------------------------------------------------------------------------------------------

#: Client headers that travel on, by the provider's dialect.
FORWARDED: dict[str, frozenset[bytes]] = {
    "openai_chat": frozenset({b"openai-organization", b"openai-project", b"openai-beta", b"traceparent"}),
    "openai_responses": frozenset({b"openai-organization", b"openai-project", b"openai-beta", b"traceparent"}),
    "anthropic_messages": frozenset({b"traceparent"}),  # and `anthropic-beta`, flag by flag
}
NO_HEADERS: frozenset[bytes] = frozenset()
#: What a provider may say its reply is; anything else is handed on as bytes without a meaning.
CONTENT_TYPES = re.compile(
    rb"(?i)((?:audio|image|video)/[\w.+-]+|application/(?:json|octet-stream|ogg|x-subrip|x-ndjson)"
    rb"|text/(?:plain|vtt|srt|event-stream))[ \t]*(?:;[\x20-\x7e]*)?"
)
#: The head of a stream of events.
STREAM_HEAD = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
_DATA_URL = re.compile(rb'"data:[^",]{0,200};base64,[A-Za-z0-9+/=_\\-]*"')


def forwarded_head(call: Call, dialect: str) -> bytes:
    """What of the client's own headers travels on: an allow-list per dialect."""
    seen = call.client_headers
    names = FORWARDED.get(dialect, NO_HEADERS)
    if names.isdisjoint(seen):
        return b""
    return b"".join([b"%b: %b\r\n" % (name, seen[name]) for name in sorted(names) if name in seen])


def media_type(wire: WireReply) -> bytes:
    """What the provider says its reply is, in lower case and without parameters; b"" where it does not."""
    named = dict(wire.headers).get(b"content-type", b"")
    return named.partition(b";")[0].strip().lower()


def content_type_line(wire: WireReply) -> bytes:
    """The provider's content type as a header line of ours."""
    named = dict(wire.headers).get(b"content-type", b"").strip()
    return b"content-type: %b\r\n" % (named if CONTENT_TYPES.fullmatch(named) else b"application/octet-stream")


def without_media(value: bytes) -> tuple[int, int]:
    """(bytes of text, count of pictures and the like) in JSON whose media stand in it as data URLs."""
    if b";base64," not in value:
        return len(value), 0
    text, found = _DATA_URL.subn(b'""', value)
    return len(text), found


class Passing(ABC):
    """What embeddings, pictures and sound share. The body, JSON or a form, passes through as the client's own bytes, but
    for the model's name and the gateway's fields. There is no output limit: a budget has room for a call as it was asked,
    or not at all.
    """

    name = ""
    call_type = ""
    streams_any = True
    needed = ""  # the field without which there is no call
    form_taken = False
    json_taken = True

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    # --- what is asked

    def parse(self, call: Call) -> None:
        content_type = call.client_headers.get(b"content-type", b"")
        if self.form_taken and is_form(content_type):
            call.form = read_form(call.body, content_type)
            _take_gateway_parts(call, call.form)
            given: Iterable[str] = call.form.names()
        elif self.json_taken:
            call.fields = fields = decode_fields(call.body)
            take_gateway_fields(call, fields)
            _take_own_metadata(call, fields)
            given = fields
        else:
            raise BadRequest(f"{call.path}: expected a body of the type multipart/form-data.", param="request_body")
        call.body_model = asked(call, "model", str, "a string") or ""
        call.model_asked = call.route_model or call.body_model or self.model_otherwise(call)
        if not call.model_asked and not call.snapshot.config.single_model:
            raise BadRequest("you must provide a model parameter", param="model")
        if self.needed not in {name.removesuffix("[]") for name in given}:
            raise BadRequest(f"{call.path}: Missing required parameter: {self.needed!r}.", param=self.needed)
        call.end_user = asked(call, "user", str, "a string") or call.end_user
        call.streaming = self.streams(call)

    def model_otherwise(self, call: Call) -> str:
        """Who answers where the client names no model; "" where one must be named."""
        return ""

    def streams(self, call: Call) -> bool:
        """Whether the client asked for events."""
        return bool(asked(call, "stream", bool, "true or false"))

    def is_streamed(self, call: Call) -> bool:
        """Whether the reply may come piece by piece."""
        return call.streaming

    # --- what it may cost

    def bound(self, call: Call) -> tuple[int, int]:
        most = max(self.dearest(call, price) for price in call.model.reachable)
        return most, most

    @abstractmethod
    def dearest(self, call: Call, price: Price) -> int:
        """The most nano-dollars that the call can cost at this price."""

    def shorten(self, call: Call, nano: int) -> None:
        raise RuntimeError(f"{self.name} has no output limit to lower, so no hold of it is smaller than its bound")

    def estimate(self, call: Call, reply: Reply) -> Usage:
        return self.input_bound(call, 0)

    @abstractmethod
    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        """The most that a call may have used of which nothing is known but that it was sent."""

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        return None

    # --- there and back

    def spoken(self, deployment: Deployment) -> str:
        return "openai_chat"

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        return None

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        if (wire := deployment.provider.media_wire(self.name)) is not None:
            return _encode_media(call, deployment, wire, streaming=self.is_streamed(call))
        content_type = b"application/json" if call.form is None else call.client_headers[b"content-type"]
        return WireRequest(
            origin=deployment.origin,
            head=deployment.head(self.name)
            + forwarded_head(call, "openai_chat")
            + b"content-type: %b\r\n" % content_type,
            body=_json_body(call, deployment) if call.form is None else _form_body(call, call.form, deployment),
            streaming=self.is_streamed(call),
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )


def asked(call: Call, name: str, type_: Any, expected: str) -> Any:
    """The value of a field of the body, JSON or form, or None. Raises BadRequest saying what was `expected`."""
    if call.form is None:
        return value_of(call.fields, name, type_, expected)
    text: str | None = call.form.text(name)
    if text is None or type_ is str:
        return text
    try:
        return _decoder(type_).decode(text.strip().lower() or "null")
    except (ValidationError, DecodeError) as error:
        raise BadRequest(f"{name} must be {expected}.", param=name) from error


def _take_own_metadata(call: Call, fields: dict[str, Raw]) -> None:
    """None of these APIs knows `metadata`: it is for our own logs."""
    metadata = value_of(fields, "metadata", dict[str, Any], "an object")
    fields.pop("metadata", None)
    if metadata is not None:
        take_metadata(call, metadata)


def _take_gateway_parts(call: Call, form: Form) -> None:
    """Consumes the parts of a form that are for the gateway. A list's parts are called `tags[]`, an object's
    `metadata[team]`.
    """
    found: dict[str, Any] = {}
    names = set()
    for part in form.parts:
        base, bracket, rest = part.name.partition("[")
        if base not in SPECIAL_FIELDS and base != "metadata":
            continue
        names.add(part.name)
        text = form.text_of(part)
        if not bracket:
            found[base] = text if base in TEXT_FIELDS else _json_in(text)
        elif rest == "]":
            found[base] = [*(found[base] if isinstance(found.get(base), list) else ()), text]
        else:
            found[base] = {**(found[base] if isinstance(found.get(base), dict) else {}), rest[:-1]: text}
    if not found:
        return
    drops = found.get("additional_drop_params")
    if isinstance(drops, list):
        names.update(name for name in form.names() if name in drops and name not in KEPT_FIELDS)
        call.dropped.extend(name for name in drops if name in form.names() and name not in KEPT_FIELDS)
    fields = {name: raw(value) for name, value in found.items()}
    take_gateway_fields(call, fields)
    _take_own_metadata(call, fields)
    form.hide(names)


def _json_in(text: str) -> Any:
    """What a part's text means: JSON where it is JSON, else the text itself."""
    try:
        return careful_json.loads(text)
    except (ValueError, RecursionError):
        return text


def _encode_media(call: Call, deployment: Deployment, wire: MediaWire, *, streaming: bool) -> WireRequest:
    """In another API than OpenAI's. What was asked is kept on the call: the reply is made with it."""
    call.encoded = media = _media_asked(call, deployment)
    sent = wire.encode(media)
    if call.streaming:
        raise BadRequest("stream is not offered by this model: its answer comes whole.", param="stream")
    call.dropped.extend(sent.dropped)
    line, _, headers = deployment.head(call.operation.name).partition(b" HTTP/1.1\r\n")
    own = b"".join(b"%b: %b\r\n" % pair for pair in sent.headers)
    request = FollowedRequest(
        origin=deployment.origin,
        head=b"%b%b HTTP/1.1\r\n%b%bcontent-type: %b\r\n"
        % (line, sent.tail.encode("ascii"), headers, own, sent.content_type.encode("ascii")),
        body=sent.body,
        streaming=streaming,
        reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
    )
    if hasattr(wire, "next_step"):  # its first reply is a ticket
        request.wire, request.asked = wire, media
    return request


def _media_asked(call: Call, deployment: Deployment) -> Asked:
    fields: dict[str, Any] = {}
    files: list[File] = []
    if call.form is None:
        fields = {name: careful_json.loads(bytes(value)) for name, value in call.fields.items()}
    else:
        for part in call.form.parts:
            name = part.name.removesuffix("[]")
            if part.is_file:
                files.append(File(name, bytes(call.form.view(part))))
            elif part.name.endswith("[]"):
                fields.setdefault(name, []).append(call.form.text_of(part))
            else:
                fields[name] = call.form.text_of(part)
    standing = {name: careful_json.loads(bytes(value)) for name, value in deployment.defaults.items()}
    forced = {name: careful_json.loads(bytes(value)) for name, value in deployment.extra_body.items()}
    fields = {**standing, **fields, **forced}
    del call.dropped[call.dropped_by_caller :]  # what an earlier try left out
    call.dropped.extend(drop_paths(fields, deployment.entry.additional_drop_params))
    return Asked(deployment.target, fields, files, call.started_us // 1_000_000)


def _json_body(call: Call, deployment: Deployment) -> bytes:
    fields = {**deployment.defaults, **call.fields, "model": raw(deployment.target), **deployment.extra_body}
    del call.dropped[call.dropped_by_caller :]  # what an earlier try left out
    call.dropped.extend(drop_paths(fields, deployment.entry.additional_drop_params))
    call.dropped.extend(deployment.provider.adapt_operation(call.operation.name, fields))
    return encode(fields)


def _form_body(call: Call, form: Form, deployment: Deployment) -> bytes:
    given = form.names()
    drops = given.intersection(deployment.entry.additional_drop_params)
    del call.dropped[call.dropped_by_caller :]  # what an earlier try left out
    call.dropped.extend(drops)
    replaced_whole = {*deployment.extra_body, *(name + "[]" for name in deployment.extra_body)}
    added: list[tuple[str, bytes]] = []
    for name, value in {**deployment.defaults, **deployment.extra_body}.items():
        if name in deployment.extra_body or not {name, name + "[]"} & given:
            added += _parts_of(name, value)
    target = deployment.target.encode()
    if "model" not in given:
        added.append(("model", target))
    return form.rewritten(replaced={"model": target}, dropped=drops | replaced_whole, added=added)


def _parts_of(name: str, value: Raw) -> list[tuple[str, bytes]]:
    """A setting as the parts of a form that say the same."""
    said = careful_json.loads(bytes(value))
    if said is None:
        return []
    if isinstance(said, str):
        return [(name, said.encode())]
    if isinstance(said, list):
        return [part for each in said for part in _parts_of(name + "[]", raw(each))]
    return [(name, bytes(value))]
