"""How many tokens a request of Anthropic's counts: `POST /v1/messages/count_tokens`. Costs nothing and holds nothing.

https://platform.claude.com/docs/en/api/messages-count-tokens (2026-11-22). Who speaks Anthropic's Messages and has a counter is
asked, with the client's own bytes; for all others the bytes are counted, and the answer's head says `x-tollway-estimated: true`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.json import decode, encode

from tollway.calls import Call, Reply, Usage
from tollway.dialects import anthropic_messages
from tollway.errors import BadRequest, UpstreamBroken
from tollway.operations import decode_fields, raw, take_gateway_fields, text_field
from tollway.operations.chat import ANTHROPIC_MESSAGES, BYTES_PER_TOKEN, MEDIA_PARTS, Chat
from tollway.operations.parameters import drop_paths
from tollway.operations.shapes import InputTokens
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply, WireRequest

JSON_HEAD = b"content-type: application/json\r\n"
ESTIMATED_HEAD = JSON_HEAD + b"x-tollway-estimated: true\r\n"
#: A picture of the largest size that is not made smaller (https://platform.claude.com/docs/en/build-with-claude/vision,
#: 2026-11-22); a page of a document counts as much.
MEDIA_TOKENS_USUAL = 1_600

_MESSAGES = b"/v1/messages "
_COUNTER = b"/v1/messages/count_tokens "
_VERTEX_COUNTER = b"/publishers/anthropic/models/count-tokens:rawPredict "


class CountMessageTokens(Chat):
    def __init__(self, dialects: dict[str, Any]) -> None:
        super().__init__(anthropic_messages, dialects, ANTHROPIC_MESSAGES, call_type="acount_tokens")

    def parse(self, call: Call) -> None:
        call.fields = fields = decode_fields(call.body)
        take_gateway_fields(call, fields)
        call.body_model = text_field(fields, "model")
        call.model_asked = call.route_model or call.body_model
        if not call.model_asked and not call.snapshot.config.single_model:
            raise BadRequest("you must provide a model parameter", param="model")
        if "messages" not in fields:
            raise BadRequest(f"{call.path}: Missing required parameter: 'messages'.", param="messages")

    # --- what it may cost

    def bound(self, call: Call) -> tuple[int, int]:
        return 0, 0

    def estimate(self, call: Call, reply: Reply) -> Usage:
        return Usage()

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return Usage()

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        return None

    # --- there and back

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        if counter_head(deployment) is not None:
            return None
        body = encode({"input_tokens": estimated_tokens(call)})
        return _reply(deployment, ESTIMATED_HEAD, body)

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        fields = {**call.fields, "model": raw(deployment.target.partition("@")[0])}
        call.dropped.extend(drop_paths(fields, deployment.entry.additional_drop_params))
        head = counter_head(deployment)
        assert head is not None  # `answer` has looked
        return WireRequest(
            origin=deployment.origin,
            head=head + self._forwarded_head(call, anthropic_messages.NAME) + JSON_HEAD,
            body=encode(fields),
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        try:
            msgspec.json.decode(body, type=InputTokens)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamBroken("The provider's count cannot be read.") from error
        return _reply(deployment, JSON_HEAD, body)


def counter_head(deployment: Deployment) -> bytes | None:
    """The head of a request to the provider's own counter; None where it has none that is known here."""
    wire = deployment.wires.get(anthropic_messages.NAME)
    if wire is None:
        return None
    line, _, rest = wire.head.partition(b"\r\n")
    if _MESSAGES in line:
        return line.replace(_MESSAGES, _COUNTER) + b"\r\n" + rest
    place, found, _ = line.partition(b"/publishers/anthropic/models/")
    return place + _VERTEX_COUNTER + b"HTTP/1.1\r\n" + rest if found else None


def estimated_tokens(call: Call) -> int:
    """By the bytes of words, of tools and of names; a picture or a document counts what one usually does."""
    text_bytes = sum(len(bytes(call.fields[name])) for name in ("system", "tools") if name in call.fields)
    media = 0

    def walk(value: Any) -> None:
        nonlocal text_bytes, media
        if isinstance(value, str):
            text_bytes += len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, dict):
            if value.get("type") in MEDIA_PARTS:
                media += 1
                return
            for name, inner in value.items():
                if name not in ("type", "cache_control"):
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    try:
        walk(decode(bytes(call.fields["messages"])))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest("messages must be a list of messages.", param="messages") from error
    return -(-text_bytes // BYTES_PER_TOKEN) + media * MEDIA_TOKENS_USUAL


def _reply(deployment: Deployment, head: bytes, body: bytes) -> Reply:
    return Reply(status=200, head=head, body=body, deployment=deployment, attempt=None, usage=Usage())
