"""Chat, in whichever dialect the client speaks to whichever dialect the provider speaks.

What it holds: the input by its bytes (media by their limits, never by their base64 length) at the dearest input price, and the
output limit that was asked for, or the model's own, at the dearest output price, times `n`.
"""

from __future__ import annotations

from typing import Any

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, decode, encode

from tollway.calls import Call, Reply, Usage
from tollway.conversation import Started, UsageSeen
from tollway.dialects import About, JsonToolText, Relay, Traits, TranslatingRelay
from tollway.errors import BadRequest, UpstreamBroken
from tollway.operations import (
    decode_fields,
    forwarded_head,
    raw,
    take_gateway_fields,
    take_metadata,
    text_field,
    value_of,
)
from tollway.pricing.bound import NO_MEDIA, Media, affordable_output_tokens, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply, WireRequest

IMAGE_PARTS = frozenset({"image_url", "image"})
OTHER_MEDIA_PARTS = frozenset({"input_audio", "file", "video_url", "document"})
MEDIA_PARTS = IMAGE_PARTS | OTHER_MEDIA_PARTS
#: Output whose tokens nobody counted is taken for one token per so many bytes.
BYTES_PER_TOKEN = 4
_TRUE = b"true"
_USAGE_WANTED = Raw(b'{"include_usage":true}')


class Words(Struct, frozen=True):
    """What one client dialect calls the things that the gateway must know of a request before it goes anywhere.

    `output_limits`: the fields that limit the output, the one that counts first. `end_user`: where the caller's own user stands.
    `own_metadata`: `metadata` is for our logs and does not travel. `usage_on_request`: a stream tells usage only when asked to.
    """

    output_limits: tuple[str, ...]
    reply_id: str
    end_user: str = ""
    own_metadata: bool = False
    usage_on_request: bool = False


OPENAI_CHAT = Words(
    ("max_completion_tokens", "max_tokens"), "chatcmpl-", end_user="user", own_metadata=True, usage_on_request=True
)
ANTHROPIC_MESSAGES = Words(("max_tokens",), "msg_")


class Chat:
    """Chat in one client dialect. `dialects` are the modules of tollway.dialects by name."""

    name = "chat"
    streams_any = False

    def __init__(
        self, dialect: Any, dialects: dict[str, Any], words: Words = OPENAI_CHAT, *, call_type: str = "acompletion"
    ) -> None:
        self.dialect = dialect
        self.call_type = call_type
        self._words = words
        self._dialects = dialects

    # --- what is asked

    def parse(self, call: Call) -> None:
        call.fields = fields = decode_fields(call.body)
        take_gateway_fields(call, fields)
        call.body_model = text_field(fields, "model")
        call.model_asked = call.route_model or call.body_model
        if not call.model_asked and not call.snapshot.config.single_model:
            raise BadRequest("you must provide a model parameter", param="model")
        if "messages" not in fields:
            raise BadRequest(f"{call.path}: Missing required parameter: 'messages'.", param="messages")
        stream = fields.get("stream")
        call.streaming = stream is not None and bytes(stream) == _TRUE
        words = self._words
        if not words.usage_on_request:
            call.usage_wanted = True
        elif call.streaming and "stream_options" in fields:
            options = value_of(fields, "stream_options", dict[str, Any], "an object")
            call.usage_wanted = bool(options and options.get("include_usage"))
        for limit in words.output_limits:
            if limit in fields:
                call.output_tokens_max = value_of(fields, limit, int, "a whole number")
                if call.output_tokens_max is not None and call.output_tokens_max < 1:
                    raise BadRequest(f"{limit} must be at least 1.", param=limit)
                break
        if words.end_user and words.end_user in fields:
            call.end_user = text_field(fields, words.end_user)
        if "metadata" in fields:
            self._take_metadata(call, fields)

    def _take_metadata(self, call: Call, fields: dict[str, Raw]) -> None:
        metadata = value_of(fields, "metadata", dict[str, Any], "an object")
        if not self._words.own_metadata:
            user = metadata.get("user_id") if metadata else None
            call.end_user = call.end_user or (user if isinstance(user, str) else "")
        elif bytes(fields.get("store", b"")) != _TRUE:
            # A provider keeps metadata only of what it stores; otherwise it is for our own logs.
            del fields["metadata"]
            if metadata is not None:
                take_metadata(call, metadata)

    # --- what it may cost

    def bound(self, call: Call) -> tuple[int, int]:
        input_tokens = self._input_tokens(call)
        output = call.output_tokens_max or call.model.output_tokens_max
        if "thinking" in call.fields or "reasoning_effort" in call.fields:
            output = max(output, call.model.output_tokens_max)  # a dialect may make room for thinking above the limit
        floor = min(output, call.snapshot.config.money.output_tokens_floor)
        n = self._choices(call)
        prices = call.model.reachable
        if len(prices) == 1:
            price = prices[0]
            most = most_expensive(price, input_tokens, output, n)
            return most, most if floor == output else most_expensive(price, input_tokens, floor, n)
        return (
            max(most_expensive(price, input_tokens, output, n) for price in prices),
            max(most_expensive(price, input_tokens, floor, n) for price in prices),
        )

    def shorten(self, call: Call, nano: int) -> None:
        input_tokens = self._input_tokens(call)
        n = self._choices(call)
        limit = min(affordable_output_tokens(price, input_tokens, n, nano) for price in call.model.reachable)
        call.output_tokens_max = limit
        names = self._words.output_limits
        call.fields[next((name for name in names if name in call.fields), names[-1])] = raw(limit)

    def estimate(self, call: Call, reply: Reply) -> Usage:
        """Usage when the provider did not say: the input's bound, and the output that was seen by its bytes."""
        seen = reply.relay.output_bytes if reply.relay is not None else len(reply.body or b"")
        return Usage(input=self._input_tokens(call), output=-(-seen // BYTES_PER_TOKEN))

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        """The most that a call may have used of which nothing is known but that it was sent."""
        return Usage(input=self._input_tokens(call), output=output_tokens)

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        return None

    def _input_tokens(self, call: Call) -> int:
        body = call.body
        if b'"type"' not in body or not _may_hold_media(call.fields["messages"]):
            return input_tokens_bound(len(body))
        text_bytes, media = _without_media(call.fields)
        facts = call.model.deployments[0].facts
        return input_tokens_bound(
            text_bytes,
            media,
            window_tokens=facts.input_tokens_max if facts else None,
            image_tokens=facts.image_tokens_max if facts else None,
        )

    def _choices(self, call: Call) -> int:
        if "n" not in call.fields:
            return 1
        n = value_of(call.fields, "n", int, "a whole number") or 1
        if not 1 <= n <= 128:
            raise BadRequest("n must be between 1 and 128.", param="n")
        return int(n)

    # --- there and back

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        call.encoded = None
        if deployment.dialect == self.dialect.NAME:
            body = self._encode_same(call, deployment)
        else:
            body = self._encode_across(call, deployment)
        return WireRequest(
            origin=deployment.origin,
            head=deployment.head("chat")
            + self._forwarded_head(call, deployment)
            + b"content-type: application/json\r\n",
            body=body,
            streaming=call.streaming,
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )

    def _encode_same(self, call: Call, deployment: Deployment) -> bytes:
        fields = dict(call.fields)
        fields["model"] = deployment.target_json
        if deployment.defaults:
            fields = {**deployment.defaults, **fields}
        if deployment.extra_body:
            fields.update(deployment.extra_body)
        if call.streaming and not call.usage_wanted and not deployment.usage_refused:
            fields["stream_options"] = _USAGE_WANTED
        for name in deployment.entry.additional_drop_params:
            if fields.pop(name, None) is not None:
                call.dropped.append(name)
        if dropped := deployment.provider.adapt(fields):
            call.dropped.extend(dropped)
        return encode(fields)

    def _encode_across(self, call: Call, deployment: Deployment) -> bytes:
        theirs = self._dialects[deployment.dialect]
        fields = {**deployment.defaults, **call.fields, "model": raw(deployment.target)}
        conversation = self.dialect.decode_request(fields)
        conversation.streaming = call.streaming
        conversation.usage_wanted = call.streaming and not deployment.usage_refused
        facts = deployment.facts
        abilities = facts.abilities if facts is not None else frozenset()
        traits = Traits(
            model=deployment.target,
            output_tokens_max=(facts.output_tokens_max if facts and facts.output_tokens_max else None) or 4096,
            adaptive_thinking="adaptive_thinking" in abilities,
            legacy_thinking="legacy_thinking" in abilities or "adaptive_thinking" not in abilities,
            native_json_schema="native_structured_output" in abilities,
            reasoning=facts is None or "reasoning" in abilities,
            drop_unsupported=deployment.drop_unsupported if call.drop_asked is None else call.drop_asked,
        )
        encoded = theirs.encode_request(conversation, traits)
        if call.shortened:
            _keep_to_limit(encoded.fields, call.output_tokens_max or 0, conversation.dropped)
        call.dropped.extend(conversation.dropped)
        call.encoded = encoded
        if deployment.extra_body:
            encoded.fields.update(deployment.extra_body)
        return encode(encoded.fields)

    def _forwarded_head(self, call: Call, deployment: Deployment) -> bytes:
        """What of the client's own headers travels on: an allow-list per dialect."""
        head = forwarded_head(call, deployment.dialect)
        if call.encoded is not None and call.encoded.betas:
            head += b"anthropic-beta: %b\r\n" % ",".join(call.encoded.betas).encode()
        return head

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        if deployment.dialect == self.dialect.NAME:
            body, usage, reply_id = self.dialect.rename_reply(body, call.model_asked or call.model.name)
        else:
            events = self._decode_events(call, deployment, body)
            body = self.dialect.encode_reply(events, self.about(call))
            usage = next((e.usage for e in reversed(events) if isinstance(e, UsageSeen)), None)
            reply_id = next((e.id for e in events if isinstance(e, Started)), "")
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        reply.usage = usage
        reply.reply_id = reply_id
        return reply

    def _decode_events(self, call: Call, deployment: Deployment, body: bytes) -> list[Any]:
        theirs = self._dialects[deployment.dialect]
        events: list[Any] = theirs.decode_reply(body)
        if call.encoded.json_tool:
            events = JsonToolText().events(events)
        if not events:
            raise UpstreamBroken("The provider's answer is empty.", deployment=deployment.id)
        return events

    def relay(self, call: Call, deployment: Deployment) -> Relay:
        """What turns the provider's stream into the client's."""
        about = self.about(call)
        if deployment.dialect == self.dialect.NAME:
            return self.dialect.PassRelay(about)  # type: ignore[no-any-return]
        theirs = self._dialects[deployment.dialect]
        return TranslatingRelay(
            about, theirs.EventDecoder(), self.dialect.EventEncoder(about), json_tool=call.encoded.json_tool
        )

    def about(self, call: Call) -> About:
        return About(
            model=call.model_asked or call.model.name,
            id=self._words.reply_id + call.id,
            created_s=call.started_us // 1_000_000,
            usage_wanted=call.usage_wanted,
            choices=self._choices(call),
        )


def _keep_to_limit(fields: dict[str, Any], limit: int, dropped: list[str]) -> None:
    """A dialect may raise the output limit to make room for thinking; not where a budget has lowered it."""
    if fields.get("max_tokens", 0) > limit:
        fields["max_tokens"] = limit
        if fields.pop("thinking", None) is not None:
            dropped.append("thinking")


class _Part(Struct, gc=False):
    """A message, or a part of one, as far as media are looked for."""

    type: str | None = None
    content: str | list[_Part] | None = None


_decode_parts = Decoder(list[_Part]).decode


def _may_hold_media(messages: Raw) -> bool:
    """Whether there are pictures, sound or documents in a request's messages, or a shape that must be looked at closely. Half
    a millisecond for a megabyte: less than to search its text for the words that media come with.
    """
    try:
        return any(_is_media(part) for part in _decode_parts(messages))
    except UnicodeDecodeError:
        return False  # no provider reads that: its bytes are what it can cost
    except MsgspecError:
        return True


def _is_media(part: _Part) -> bool:
    content = part.content
    return part.type in MEDIA_PARTS or (isinstance(content, list) and any(_is_media(inner) for inner in content))


def _without_media(fields: dict[str, Raw]) -> tuple[int, Media]:
    """(bytes of text, media) of a request that carries pictures, sound or documents. Decodes it: 100 us and more."""
    text = sum(len(bytes(value)) for name, value in fields.items() if name != "messages")
    images = others = 0

    def walk(value: Any) -> None:
        nonlocal text, images, others
        if isinstance(value, str):
            text += len(value.encode("utf-8", "surrogatepass")) + 4
        elif isinstance(value, dict):
            kind = str(value.get("type"))
            if kind in IMAGE_PARTS:
                images += 1
            elif kind in OTHER_MEDIA_PARTS:
                others += 1
            else:
                for name, inner in value.items():
                    text += len(name) + 4
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        else:
            text += 8

    try:
        walk(decode(bytes(fields["messages"])))
    except UnicodeDecodeError as error:
        raise BadRequest("messages must be UTF-8.", param="messages") from error
    return text, Media(images, others) if images or others else NO_MEDIA
