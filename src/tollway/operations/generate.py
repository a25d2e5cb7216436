"""Chat as Gemini's clients ask for it: the model and whether it streams stand in the path, limits in `generationConfig`.

https://ai.google.dev/api/generate-content (2026-11-22). A stream is server-sent events where the client asked for them
(`?alt=sse`), else one JSON array that grows. And how many tokens a request counts (`:countTokens`): asked of the provider
where it has a counter, else estimated, and said so in a header.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw
from msgspec.json import encode

from tollway.calls import Call, Reply, Usage
from tollway.dialects import About, Relay, Traits, TranslatingRelay, gemini
from tollway.dialects.gemini import asked
from tollway.dialects.gemini.parts import one_line
from tollway.dialects.gemini.reply import Framer
from tollway.errors import BadRequest, UpstreamBroken
from tollway.operations import STREAM_HEAD, decode_fields, raw, take_gateway_fields
from tollway.operations.chat import BYTES_PER_TOKEN, Chat, Words
from tollway.operations.parameters import pass_as_given
from tollway.operations.shapes import TotalTokens
from tollway.pricing.bound import Media, input_tokens_bound
from tollway.snapshot import ChatWire, Deployment
from tollway.upstream.wire import WireReply, WireRequest

GEMINI = Words((), "", input="contents")
JSON_HEAD = b"content-type: application/json\r\n"
ARRAY_HEAD = b"content-type: application/json; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
ESTIMATED_HEAD = JSON_HEAD + b"x-tollway-estimated: true\r\n"
#: Fields of a request that say nothing to a provider: they stand in the path.
_IN_THE_PATH = ("model", "stream")


class Generate(Chat):
    """`generateContent`; with `streaming`, `streamGenerateContent`."""

    streams_any = True  # events or an array

    def __init__(self, dialects: dict[str, Any], *, streaming: bool) -> None:
        call_type = "agenerate_content_stream" if streaming else "agenerate_content"
        super().__init__(gemini, dialects, GEMINI, call_type=call_type)
        self._streaming = streaming

    # --- what is asked

    def parse(self, call: Call) -> None:
        call.fields = fields = decode_fields(call.body)
        take_gateway_fields(call, fields)
        call.model_asked = call.route_model or ""
        self._check(call, fields)
        call.streaming = self._streaming
        call.usage_wanted = True  # a reply always tells it
        call.output_tokens_max = asked.limits_in(fields).output_tokens_max

    def _check(self, call: Call, fields: dict[str, Raw]) -> None:
        if "contents" not in fields:
            raise BadRequest("contents is not specified", param="contents")

    # --- what it may cost

    def shorten(self, call: Call, nano: int) -> None:
        limit = self.affordable(call, nano)
        call.output_tokens_max = limit
        asked.lower_output_limit(call.fields, limit)

    def _thinks(self, call: Call) -> bool:
        return asked.limits_in(call.fields).thinks

    def _choices(self, call: Call) -> int:
        return asked.limits_in(call.fields).choices

    def _input_tokens(self, call: Call) -> int:
        carried = asked.media_in(call.body, call.fields)
        if carried is None:
            return input_tokens_bound(len(call.body))
        facts = call.model.deployments[0].facts
        return input_tokens_bound(
            len(call.body) - carried.data_bytes,
            Media(carried.images, carried.others),
            window_tokens=facts.input_tokens_max if facts else None,
            image_tokens=facts.image_tokens_max if facts else None,
        )

    # --- there and back

    def _encode_same(self, call: Call, deployment: Deployment) -> bytes:
        fields = dict(call.fields)
        for name in _IN_THE_PATH:
            fields.pop(name, None)
        lost: list[str] = []
        if deployment.defaults:
            self._put_defaults(fields, deployment, lost)
        own = asked.without_foreign_thought(fields["contents"], deployment.target)
        if own is not fields["contents"]:
            fields["contents"] = own
            lost.append("contents[].parts[].thoughtSignature")
        return self._finish(call, deployment, gemini.NAME, fields, lost)

    def _put_defaults(self, fields: dict[str, Raw], deployment: Deployment, lost: list[str]) -> None:
        """The configuration's parameters, where the client says nothing: said in Gemini's words."""
        said = self._configured(deployment)
        encoded = gemini.encode_request(said.asked, Traits(model=deployment.target, passed=frozenset(said.foreign)))
        pass_as_given(said.foreign, said.foreign, encoded.fields, said.asked.dropped)
        lost += said.asked.dropped
        settings = encoded.fields.pop("generationConfig", {})
        if settings:
            asked.put_settings(fields, settings, under=True)
        for name, value in encoded.fields.items():
            if name != "contents" and asked.spelling(fields, name) is None:
                fields[name] = raw(value)

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        reply = super().decode(call, deployment, wire)
        if call.streaming:  # the provider gave it whole: one chunk says all
            framer = Framer(array=wants_array(call))
            reply.body = framer.frame([one_line(reply.body or b"")]) + framer.end()
            reply.head = ARRAY_HEAD if wants_array(call) else STREAM_HEAD
        return reply

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        head = ARRAY_HEAD if wants_array(call) else STREAM_HEAD
        reply = Reply(status=200, head=head, body=None, deployment=deployment, attempt=None)
        reply.relay = self.relay(call, deployment)
        return reply

    def relay(self, call: Call, deployment: Deployment) -> Relay:
        about = self.about(call)
        array = wants_array(call)
        spoken = self.spoken(deployment)
        if spoken == gemini.NAME:
            return gemini.PassRelay(about, array=array)
        theirs = self._dialects[spoken]
        encoder = gemini.EventEncoder(about, array=array)
        return TranslatingRelay(about, theirs.EventDecoder(), encoder, json_tool=call.encoded.json_tool)

    def about(self, call: Call) -> About:
        return About(
            model=call.model_asked or call.model.name,
            id=call.id,
            created_s=call.started_us // 1_000_000,
            usage_wanted=True,
            choices=self._choices(call),
        )


def wants_array(call: Call) -> bool:
    """Whether the client asked for a stream without `alt=sse`."""
    query: bytes = call.scope.get("query_string", b"")
    return b"alt=sse" not in query or "sse" not in parse_qs(query.decode("latin-1")).get("alt", ())


# --- counting ------------------------------------------------------------------------------------------------------

_GENERATE_PATH = b":generateContent "
_COUNT_PATH = b":countTokens "
_MESSAGES_PATH = b"/v1/messages "
_COUNT_MESSAGES_PATH = b"/v1/messages/count_tokens "
#: What Anthropic's counter takes. https://platform.claude.com/docs/en/api/messages-count-tokens (2026-11-22)
_COUNTED_FIELDS = frozenset({"messages", "model", "system", "tools", "tool_choice", "thinking", "output_config"})


class CountTokens(Generate):
    """`countTokens`. Costs nothing and holds nothing."""

    streams_any = False

    def __init__(self, dialects: dict[str, Any]) -> None:
        super().__init__(dialects, streaming=False)
        self.call_type = "acount_tokens"

    def _check(self, call: Call, fields: dict[str, Raw]) -> None:
        """The request may be told whole, in `generateContentRequest`."""
        place = asked.spelling(fields, "generateContentRequest")
        if place is not None:
            inner = fields.pop(place)
            fields.update(decode_fields(bytes(inner)))
        super()._check(call, fields)

    def bound(self, call: Call) -> tuple[int, int]:
        return 0, 0

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        wire = deployment.wire_for(gemini.NAME)
        if _counting(wire) is not None:
            return None
        carried = asked.media_in(call.body, call.fields)
        text_bytes = len(call.body) - (carried.data_bytes if carried is not None else 0)
        tokens = -(-text_bytes // BYTES_PER_TOKEN)
        if carried is not None:
            tokens += MEDIA_TOKENS_USUAL * (carried.images + carried.others)
        body = encode({"totalTokens": tokens})
        reply = Reply(status=200, head=ESTIMATED_HEAD, body=body, deployment=deployment, attempt=None)
        reply.usage = Usage()
        return reply

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        request = super().encode(call, deployment)
        request.head = _counting(deployment.wire_for(gemini.NAME)) or request.head
        request.head += JSON_HEAD
        return request

    def _encode_same(self, call: Call, deployment: Deployment) -> bytes:
        """Beside contents alone, the whole request must be told under its own name, with the model in it."""
        body = super()._encode_same(call, deployment)
        fields: dict[str, Raw] = msgspec.json.decode(body, type=dict[str, Raw])
        if fields.keys() == {"contents"}:
            return body
        return encode({"generateContentRequest": {"model": f"models/{deployment.target}", **fields}})

    def _encode_across(self, call: Call, deployment: Deployment, dialect: str) -> bytes:
        fields: dict[str, Raw] = msgspec.json.decode(super()._encode_across(call, deployment, dialect))
        return encode({name: value for name, value in fields.items() if name in _COUNTED_FIELDS})

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        try:
            count = msgspec.json.decode(body, type=TotalTokens)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamBroken("The provider's count cannot be read.") from error
        if count.totalTokens is None:
            if count.input_tokens is None:
                raise UpstreamBroken("The provider's count has no number in it.")
            body = encode({"totalTokens": count.input_tokens})
        reply = Reply(status=200, head=JSON_HEAD, body=body, deployment=deployment, attempt=None)
        reply.usage = Usage()
        return reply


#: What a picture of usual size counts; https://ai.google.dev/gemini-api/docs/tokens (2026-11-22)
MEDIA_TOKENS_USUAL = 258


def _counting(wire: ChatWire) -> bytes | None:
    """The head of a request to the provider's own counter; None where it has none that is known here."""
    head = wire.head
    line, _, rest = head.partition(b"\r\n")
    for path, counter in ((_GENERATE_PATH, _COUNT_PATH), (_MESSAGES_PATH, _COUNT_MESSAGES_PATH)):
        if path in line:
            return line.replace(path, counter) + b"\r\n" + rest
    return None
