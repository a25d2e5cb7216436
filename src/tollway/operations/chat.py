"""Chat, in whichever dialect the client speaks to whichever dialect the provider speaks.

What it holds: the input by its bytes (media by their limits, never by their base64 length) at the dearest input price, and the
output limit that was asked for, or the model's own, at the dearest output price, times `n`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder, decode, encode

from tollway.calls import Call, Cost, Reply, Usage
from tollway.conversation import Conversation, Started, UsageSeen
from tollway.dialects import About, JsonToolText, Relay, Traits, TranslatingRelay
from tollway.errors import BadRequest, PublicError, UpstreamBroken, UpstreamError
from tollway.operations import (
    decode_fields,
    forwarded_head,
    raw,
    take_gateway_fields,
    take_metadata,
    text_field,
    value_of,
)
from tollway.operations.parameters import (
    OPENAI_FIELDS,
    WITHOUT_SCHEMAS,
    Configured,
    configured,
    drop_paths,
    in_own_words,
    keep_to_limit,
    mend,
    pass_as_given,
    put_extra_under,
    put_under,
    refuse_links,
    settle_under,
    split_betas,
    tell_schema,
)
from tollway.operations.shapes import Part
from tollway.pricing.bound import NO_MEDIA, Media, affordable_output_tokens, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.providers import Unwrapper
from tollway.providers.following import followed
from tollway.snapshot import Deployment, Model, Snapshot
from tollway.upstream.wire import WireReply, WireRequest

IMAGE_PARTS = frozenset({"image_url", "image"})
OTHER_MEDIA_PARTS = frozenset({"input_audio", "file", "video_url", "document"})
MEDIA_PARTS = IMAGE_PARTS | OTHER_MEDIA_PARTS
#: Output whose tokens nobody counted is taken for one token per so many bytes.
BYTES_PER_TOKEN = 4
#: Messages up to this size are searched for what media come with, before they are looked at one by one.
SEARCHED_BYTES_MAX = 1 << 20
_TRUE = b"true"
#: Providers whose chat completions are OpenAI's own, with all that compatible servers may refuse.
_OPENAIS_OWN = frozenset({"openai", "azure"})
#: Who reads parameters of the configuration: they are written in OpenAI's words.
CONFIGURED_IN = "openai_chat"
_IN_OPENAIS_WORDS = frozenset({CONFIGURED_IN, "openai_completions"})
_USAGE_WANTED = Raw(b'{"include_usage":true}')


class Words:
    """What one client dialect calls the things that the gateway must know of a request before it goes anywhere.

    `output_limits`: the fields that limit the output, the one that counts first. `input`: what the model is to answer.
    `end_user`: where the caller's own user stands.
    `own_metadata`: `metadata` is for our logs and does not travel. `usage_on_request`: a stream tells usage only when asked to.
    """

    __slots__ = ("end_user", "input", "output_limits", "own_metadata", "reply_id", "usage_on_request")

    def __init__(
        self,
        output_limits: tuple[str, ...],
        reply_id: str,
        input: str = "messages",
        *,
        end_user: str = "",
        own_metadata: bool = False,
        usage_on_request: bool = False,
    ) -> None:
        self.output_limits = output_limits
        self.reply_id = reply_id
        self.input = input
        self.end_user = end_user
        self.own_metadata = own_metadata
        self.usage_on_request = usage_on_request


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
        self.speaks: str = dialect.NAME  # the client
        self.call_type = call_type
        self._words = words
        self._dialects = dialects
        #: Takes what other makers signed or sealed out of what passes as bytes; None where a dialect carries none.
        self._without_foreign: Callable[[Raw], Raw] | None = getattr(dialect, "without_foreign_thought", None)

    # --- what is asked

    def parse(self, call: Call) -> Awaitable[None] | None:
        call.fields = fields = decode_fields(call.body)
        call.fields_sent = dict(fields)
        take_gateway_fields(call, fields)
        call.body_model = text_field(fields, "model")
        call.model_asked = call.route_model or call.body_model
        if not call.model_asked and not call.snapshot.config.single_model:
            raise BadRequest("you must provide a model parameter", param="model")
        words = self._words
        self._check(call, fields)
        stream = fields.get("stream")
        call.streaming = stream is not None and bytes(stream) == _TRUE
        if not words.usage_on_request:
            call.usage_wanted = True
        elif call.streaming and "stream_options" in fields:
            options = value_of(fields, "stream_options", dict[str, Any], "an object")
            call.usage_wanted = bool(options and options.get("include_usage"))
        for limit in words.output_limits:
            if limit in fields:
                tokens = value_of(fields, limit, int, "a whole number")
                if tokens is not None and tokens < 1:
                    raise BadRequest(f"{limit} must be at least 1.", param=limit)
                # Of two spellings a provider may obey either: the larger one is what the call may cost.
                call.output_tokens_max = max(tokens or 0, call.output_tokens_max or 0) or None
        if words.end_user and words.end_user in fields:
            call.end_user = text_field(fields, words.end_user)
        if "metadata" in fields:
            self._take_metadata(call, fields)
        return None

    def _check(self, call: Call, fields: dict[str, Raw]) -> None:
        name = self._words.input
        if name not in fields:
            raise BadRequest(f"{call.path}: Missing required parameter: {name!r}.", param=name)

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
        model: Model = call.model
        snapshot: Snapshot = call.snapshot
        output = max(call.output_tokens_max or model.output_tokens_max, model.forced.output_tokens)
        if self._thinks(call) or model.by_default.thinks or model.forced.thinks:
            output = max(output, model.output_tokens_max)  # a dialect may make room for thinking above the limit
        floor = min(output, snapshot.output_tokens_floor)
        n = self._choices_reachable(call)
        prices = model.reachable
        if len(prices) == 1:
            price = prices[0]
            most = most_expensive(price, input_tokens, output, n)
            return most, most if floor == output else most_expensive(price, input_tokens, floor, n)
        return (
            max(most_expensive(price, input_tokens, output, n) for price in prices),
            max(most_expensive(price, input_tokens, floor, n) for price in prices),
        )

    def shorten(self, call: Call, nano: int) -> None:
        call.output_tokens_max = limit = self.affordable(call, nano)
        names = self._words.output_limits
        for name in [name for name in names if name in call.fields] or names[-1:]:
            call.fields[name] = raw(limit)

    def affordable(self, call: Call, nano: int) -> int:
        """The output limit with which the call costs at most `nano` at the dearest price it can reach."""
        input_tokens = self._input_tokens(call)
        n = self._choices_reachable(call)
        return min(affordable_output_tokens(price, input_tokens, n, nano) for price in call.model.reachable)

    def output_tokens_within(self, call: Call, nano: int) -> int:
        """The output, of all choices together, with which the call costs at most `nano`."""
        return self.affordable(call, nano) * self._choices_reachable(call)

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
        if not _may_hold_media(call.fields[self._words.input]):
            return input_tokens_bound(len(call.body))
        text_bytes, media = _without_media(call.fields, self._words.input)
        facts = call.model.deployments[0].facts
        return input_tokens_bound(
            text_bytes,
            media,
            window_tokens=facts.input_tokens_max if facts else None,
            image_tokens=facts.image_tokens_max if facts else None,
        )

    def _thinks(self, call: Call) -> bool:
        return "thinking" in call.fields or "reasoning_effort" in call.fields

    def _choices(self, call: Call) -> int:
        if "n" not in call.fields:
            return 1
        n = value_of(call.fields, "n", int, "a whole number") or 1
        if not 1 <= n <= 128:
            raise BadRequest("n must be between 1 and 128.", param="n")
        return int(n)

    def _choices_reachable(self, call: Call) -> int:
        """How many choices the call may have written wherever it comes to: the configuration may ask for more."""
        model: Model = call.model
        more = model.forced.choices if "n" in call.fields else max(model.forced.choices, model.by_default.choices)
        return self._choices(call) * more if more else self._choices(call)

    def _choices_at(self, call: Call, deployment: Deployment) -> int:
        """How many this deployment is asked for."""
        n = deployment.extra_body.get("n") or (None if "n" in call.fields else deployment.defaults.get("n"))
        return self._choices(call) if n is None else value_of({"n": n}, "n", int, "a whole number") or 1

    # --- there and back

    def spoken(self, deployment: Deployment) -> str:
        return deployment.wire_for(self.speaks).dialect

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        return None

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        call.encoded = None
        if call.dropped:
            del call.dropped[call.dropped_by_caller :]  # what an earlier try left out
        wire = deployment.wire_for(self.speaks)
        snapshot: Snapshot = call.snapshot
        if wire.dialect != self.speaks:
            body = self._encode_across(call, deployment, wire.dialect)
        elif self._mends(call):
            body = self._encode_mended(call, deployment)
        else:
            body = self._encode_same(call, deployment)
        head = (
            (wire.stream_head if call.streaming else wire.head)
            + self._forwarded_head(call, wire.dialect)
            + b"content-type: application/json\r\n"
        )
        if call.encoded is not None and call.encoded.follower is not None:
            return followed(
                deployment.origin,
                head,
                body,
                wire=call.encoded.follower,
                listens=call.streaming,
                reply_bytes_max=snapshot.reply_bytes_max,
            )
        return WireRequest(
            origin=deployment.origin,
            head=head,
            body=body,
            streaming=call.streaming,
            reply_bytes_max=snapshot.reply_bytes_max,
        )

    def _encode_same(self, call: Call, deployment: Deployment) -> bytes:
        fields = dict(call.fields)
        if fields.get("model") != deployment.target_json:
            fields["model"] = deployment.target_json
        lost: list[str] = []
        if self._without_foreign is not None:
            given = fields[self._words.input]
            own = fields[self._words.input] = self._without_foreign(given)
            if own is not given:
                lost.append(f"{self._words.input}[].thought")
        if deployment.defaults:
            lost += self._put_defaults_under(fields, call, deployment)
        if call.streaming and not call.usage_wanted and not deployment.usage_refused:
            fields["stream_options"] = _USAGE_WANTED
        return self._finish(call, deployment, self.speaks, fields, lost)

    def _encode_across(self, call: Call, deployment: Deployment, dialect: str) -> bytes:
        conversation = self._conversation(call, deployment)
        if self._mends(call):
            conversation.dropped += mend(conversation, dialect)
        return self._encode_conversation(call, deployment, dialect, conversation)

    def _encode_mended(self, call: Call, deployment: Deployment) -> bytes:
        """Bytes pass as they came unless something in them must be mended: then the request is written anew."""
        conversation = self._conversation(call, deployment)
        changes = mend(conversation, self.speaks)
        if not changes:
            return self._encode_same(call, deployment)
        conversation.dropped += changes
        return self._encode_conversation(call, deployment, self.speaks, conversation)

    def _encode_conversation(
        self, call: Call, deployment: Deployment, dialect: str, conversation: Conversation
    ) -> bytes:
        theirs = self._dialects[dialect]
        conversation.streaming = call.streaming
        conversation.usage_wanted = call.streaming and not deployment.usage_refused
        refuse_links(conversation, dialect, call.model.name)
        traits = self._traits(call, deployment, dialect)
        encoded = theirs.encode_request(conversation, traits)
        lost = conversation.dropped
        if deployment.defaults and self.speaks != CONFIGURED_IN:
            lost += put_extra_under(encoded, self._configured(deployment), theirs.encode_request, traits)
        if traits.passed:
            pass_as_given(traits.passed, {**deployment.defaults, **call.fields}, encoded.fields, lost)
        call.encoded = encoded
        body = self._finish(call, deployment, dialect, encoded.fields, lost)
        encoded.fields = {}  # while it is still in the processor's cache: an answer may take minutes
        return body

    def _traits(self, call: Call, deployment: Deployment, dialect: str) -> Traits:
        facts = deployment.facts
        abilities = facts.abilities if facts is not None else frozenset()
        passed = {*deployment.entry.allowed_openai_params, *call.allowed_params, *deployment.provider.own_fields}
        if deployment.defaults:
            passed.update(name for name in deployment.defaults if name not in OPENAI_FIELDS)
        drops = deployment.drop_unsupported and not self._is_lossless(call, deployment)
        return Traits(
            model=deployment.target,
            output_tokens_max=(facts.output_tokens_max if facts and facts.output_tokens_max else None) or 4096,
            adaptive_thinking="adaptive_thinking" in abilities,
            legacy_thinking="legacy_thinking" in abilities or "adaptive_thinking" not in abilities,
            native_json_schema="native_structured_output" in abilities or dialect == self.speaks,
            reasoning=facts is None or "reasoning" in abilities,
            web_search="web_search" in abilities,
            openai_fields=deployment.provider.name in _OPENAIS_OWN,
            drop_unsupported=drops if call.drop_asked is None else call.drop_asked,
            passed=frozenset(passed),
        )

    def _finish(
        self, call: Call, deployment: Deployment, dialect: str, fields: dict[str, Any], lost: list[str]
    ) -> bytes:
        """What is done to every request, whoever wrote it, before it is bytes. `lost` are names of what it lacks by now."""
        entry = deployment.entry
        if deployment.extra_body:
            fields.update(deployment.extra_body)
        if call.shortened:
            keep_to_limit(fields, call.output_tokens_max or 0, lost)
        if entry.additional_drop_params:
            call.dropped.extend(drop_paths(fields, entry.additional_drop_params))  # wanted, so never a reason to refuse
        if "response_format" in fields and self._lacks_schemas(deployment) and tell_schema(fields):
            lost.append("response_format.json_schema")
        if dialect == self.speaks or dialect == CONFIGURED_IN or deployment.provider.adapts_all:
            if call.allowed_params or entry.allowed_openai_params:
                self._adapt(call, deployment, fields, lost)
            elif dropped := deployment.provider.adapt(fields):
                lost.extend(dropped)
        betas: tuple[str, ...] = ()
        if dialect == "anthropic_messages":
            betas, stripped = self._betas(call)
            lost.extend(f"anthropic-beta[{flag}]" for flag in stripped)
        if lost:
            self._tell(call, deployment, lost)
        deployment.provider.envelop(dialect, fields, streaming=call.streaming, betas=betas)
        if fields == call.fields_sent:  # values that nobody replaced are the same objects: 0.1 us
            body: bytes = call.body
            return body
        return encode(fields)

    def _tell(self, call: Call, deployment: Deployment, lost: list[str]) -> None:
        """Names what a request lacks, or refuses it."""
        if self._is_lossless(call, deployment):
            raise BadRequest(
                f"The model {call.model.name!r} would not be given all of this call: {', '.join(lost)}. Leave it out, or send "
                "`drop_params: true`; the gateway's `lossless: reject` lets nothing else be dropped.",
                param=lost[0],
                code="unsupported_parameter",
            )
        call.dropped.extend(lost)

    def _adapt(self, call: Call, deployment: Deployment, fields: dict[str, Any], lost: list[str]) -> None:
        """What this provider is documented to want otherwise, but for what the configuration or the caller want passed."""
        allowed = (*deployment.entry.allowed_openai_params, *call.allowed_params)
        given = {name: fields[name] for name in allowed if name in fields}
        dropped = deployment.provider.adapt(fields)
        pass_as_given(allowed, given, fields, dropped)
        lost.extend(dropped)

    def _mends(self, call: Call) -> bool:
        asked: bool | None = call.modify_asked
        snapshot: Snapshot = call.snapshot
        return snapshot.modify_params if asked is None else asked

    def _is_lossless(self, call: Call, deployment: Deployment) -> bool:
        """Whether nothing may be left out. A caller who asks for dropping has agreed to it."""
        if call.drop_asked:
            return False
        own = deployment.entry.lossless
        return bool(call.snapshot.config.params.lossless if own is None else own)

    def _lacks_schemas(self, deployment: Deployment) -> bool:
        said = deployment.entry.about.get("supports_response_schema")
        return deployment.provider.name in WITHOUT_SCHEMAS if said is None else said is False

    # --- what the configuration says where the client says nothing

    def _conversation(self, call: Call, deployment: Deployment) -> Conversation:
        conversation: Conversation
        if self.speaks == CONFIGURED_IN:
            fields = {**call.fields, "model": raw(deployment.target)}
            put_under(fields, deployment.defaults)
            conversation = self.dialect.decode_request(fields)
            return conversation
        conversation = self.dialect.decode_request({**call.fields, "model": raw(deployment.target)})
        if deployment.defaults:
            settle_under(conversation, self._configured(deployment).asked)
        return conversation

    def _configured(self, deployment: Deployment) -> Configured:
        return configured(deployment.defaults, deployment.target_json, self._dialects[CONFIGURED_IN].decode_request)

    def _put_defaults_under(self, fields: dict[str, Any], call: Call, deployment: Deployment) -> list[str]:
        """In the client's own dialect; returns what it has no word for."""
        if self.speaks in _IN_OPENAIS_WORDS:
            put_under(fields, deployment.defaults)
            return []
        said = self._configured(deployment)
        traits = self._traits(call, deployment, self.speaks)
        said_here = in_own_words(said, self.dialect.encode_request, traits, call.output_tokens_max)
        if "thinking" in said_here.fields and "thinking" not in fields and "max_tokens" in said_here.fields:
            fields["max_tokens"] = said_here.fields["max_tokens"]  # with room for the thought
        put_under(fields, said_here.fields)
        lost = said.asked.dropped
        pass_as_given(traits.passed, deployment.defaults, fields, lost)
        return lost

    # --- headers

    def _forwarded_head(self, call: Call, dialect: str) -> bytes:
        """What of the client's own headers travels on: an allow-list per dialect."""
        head = forwarded_head(call, dialect)
        if dialect == "anthropic_messages":
            flags, _ = self._betas(call)
            if flags:
                head += b"anthropic-beta: %b\r\n" % ",".join(flags).encode()
        return head

    def _betas(self, call: Call) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(Anthropic's beta flags that go out, those of the client's that this provider refuses)."""
        asked = call.client_headers.get(b"anthropic-beta", b"")
        encoded = call.encoded.betas if call.encoded is not None else ()
        if not asked and not encoded:
            return (), ()
        deployment = call.deployment
        known, stripped = split_betas(asked, deployment.provider.name, deployment.entry.anthropic_betas)
        return tuple(dict.fromkeys((*known, *encoded))), stripped

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        if body[:1] in _NO_JSON:
            _refuse_what_is_no_json(body, deployment)
        spoken = self.spoken(deployment)
        if spoken == self.speaks:
            body, usage, reply_id = self.dialect.rename_reply(body, call.model_asked or call.model.name)
        else:
            events = self._decode_events(call, deployment, spoken, body)
            body = self.dialect.encode_reply(events, self.about(call))
            usages = [e.usage for e in events if isinstance(e, UsageSeen)]
            usage = usages[-1] if usages else None
            ids = [e.id for e in events if isinstance(e, Started)]
            reply_id = ids[0] if ids else ""
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        reply.usage = usage
        reply.reply_id = reply_id
        return reply

    def _decode_events(self, call: Call, deployment: Deployment, spoken: str, body: bytes) -> list[Any]:
        theirs = self._dialects[spoken]
        events: list[Any] = theirs.decode_reply(body)
        if call.encoded.json_tool:
            events = JsonToolText().events(events)
        if not events:
            raise UpstreamBroken("The provider's answer is empty.", deployment=deployment.id)
        return events

    def relay(self, call: Call, deployment: Deployment) -> Relay:
        """What turns the provider's stream into the client's."""
        about = self.about(call)
        spoken = self.spoken(deployment)
        relay: Relay
        if spoken == self.speaks:
            relay = self.dialect.PassRelay(about)
        else:
            decoder, encoder = self._dialects[spoken].EventDecoder(), self.dialect.EventEncoder(about)
            relay = TranslatingRelay(about, decoder, encoder, json_tool=call.encoded.json_tool)
        unwrapper = deployment.provider.unwrapper(spoken)
        return relay if unwrapper is None else UnwrappingRelay(relay, unwrapper)

    def about(self, call: Call) -> About:
        return About(
            model=call.model_asked or call.model.name,
            id=self._words.reply_id + call.id,
            created_s=call.started_us // 1_000_000,
            usage_wanted=call.usage_wanted,
            choices=self._choices_at(call, call.deployment),
            asked=call.fields,
        )


class UnwrappingRelay:
    """A relay of a stream that its provider sends within another. What it says of itself is the inner one's. See `Relay`."""

    def __init__(self, relay: Relay, unwrapper: Unwrapper) -> None:
        self._relay = relay
        self._unwrapper = unwrapper
        self._unsent = b""
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.reply_id = ""
        self.output_bytes = 0

    @property
    def usage(self) -> Usage | None:
        return self._relay.usage

    def feed(self, data: bytes) -> bytes:
        try:
            unwrapped = self._unwrapper.feed(data)
        except UpstreamError:
            self._unsent = self._told(self._relay.feed(self._unwrapper.before_error))
            raise
        return self._told(self._relay.feed(unwrapped))

    def end(self) -> bytes:
        return self._told(self._relay.end())

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        return self._told(self._relay.finish(usage, cost))

    def cut_short(self) -> bytes:
        return self._told(self._relay.cut_short())

    def fail(self, error: PublicError) -> bytes | None:
        said = self._relay.fail(error)
        return None if said is None else self._unsent + self._told(said)

    def _told(self, out: bytes) -> bytes:
        relay = self._relay
        self.content_started, self.finishing, self.complete = relay.content_started, relay.finishing, relay.complete
        self.reply_id, self.output_bytes = relay.reply_id, relay.output_bytes
        return out


#: How an answer begins that is nothing, or a page for people; spaces may stand before either.
_NO_JSON = frozenset({b"", b"<", b" ", b"\n", b"\r", b"\t", b"\xef"})


def _refuse_what_is_no_json(body: bytes, deployment: Deployment) -> None:
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    name = deployment.provider.name
    if not text:
        raise UpstreamBroken(f"The provider {name} answered with nothing.", deployment=deployment.id)
    if text.startswith(b"<"):
        raise UpstreamBroken(
            f"The provider {name} answered with a web page instead of an API's answer. Its address may lack a path (`/v1`), or "
            "something before it may have answered.",
            deployment=deployment.id,
        )


_decode_parts = Decoder(list[Part]).decode


def _may_hold_media(messages: Raw) -> bool:
    """Whether there are pictures, sound or documents in a request's messages, or a shape that must be looked at closely. Costs 0.4
    us for a short text, 20 for 50 KB of text alone, and 60 for as much with parts in it.
    """
    if len(memoryview(messages)) <= SEARCHED_BYTES_MAX:
        text = bytes(messages)
        # Media come with a "type"; JSON lets a client write its letters as \u0074. From behind it is searched three times as
        # quickly by some builds of Python, and as quickly by others; and that is where parts are found first.
        if text.rfind(b'"type"') < 0 and text.rfind(b"\\u00") < 0:
            return False
    try:
        for message in _decode_parts(messages):
            if _is_media(message):
                return True
    except UnicodeDecodeError:
        return False  # no provider reads that: its bytes are what it can cost
    except MsgspecError:
        return True
    return False


def _is_media(part: Part) -> bool:
    content = part.content
    return part.type in MEDIA_PARTS or (isinstance(content, list) and any(_is_media(inner) for inner in content))


def _without_media(fields: dict[str, Raw], input: str) -> tuple[int, Media]:
    """(bytes of text, media) of a request that carries pictures, sound or documents. Decodes it: 100 us and more."""
    text = sum(len(bytes(value)) for name, value in fields.items() if name != input)
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
        walk(decode(bytes(fields[input])))
    except UnicodeDecodeError as error:
        raise BadRequest(f"{input} must be UTF-8.", param=input) from error
    return text, Media(images, others) if images or others else NO_MEDIA
