"""A provider's own API behind the gateway: the bytes pass, and who asks, for how much, and whose a thing is are the gateway's.

What a call costs is said by its line in `endpoints.pass_through`: nothing (`FREE`), nobody can know beforehand (`UNPRICED`: refused
to callers with a budget, unless the deployment whose key is used says `unpriced: allow`), or the model's price by the usage in the
answer, read in the dialect that `kind` names. What a call holds: its body by its bytes and its output limit, or the model's own.

**Whose key.** A deployment of that provider for that model; else the first entry of that provider, at its own address before any
other; else the provider's variables. Never the client's. **Which models.** A caller that is kept to certain models may name those
as the provider calls them, or as the configuration does; what names no model has a name of its own, `openai/files`.

**Whose things.** What is made here (files, batches, responses) belongs to the key's team, or to the key alone; for everybody else
it is not there, and lists show a caller its own.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode
from msgspec.structs import replace

from tollway.calls import Call, Cost, Reply, Usage
from tollway.config.settings import ModelEntry, RoutingSettings
from tollway.conversation import Finished, ReasoningPiece, Started, TextPiece, ToolArgumentsPiece, UsageSeen
from tollway.dialects import HELD_BYTES_MAX
from tollway.dialects.bedrock_converse.parts import CLAUDE, family_of
from tollway.errors import BadRequest, ConfigError, NotFound, PublicError, Rejection, UpstreamBroken, UpstreamError
from tollway.operations import content_type_line, decode_fields, forwarded_head, media_type
from tollway.operations.shapes import CohereEmbedded
from tollway.pricing.bound import Media, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.providers.azure import Azure
from tollway.providers.vertex_ai import VertexAI
from tollway.snapshot import ANONYMOUS, MASTER, Caller, Deployment, Model, Snapshot
from tollway.storage.owners import Owners
from tollway.upstream.wire import WireReply, WireRequest
from tollway.values import Value

FREE, UNPRICED = "free", "unpriced"
#: Models of a provider's that are bound for pass-through at a time; the one named first is forgotten first.
MODELS_MAX = 1024
BYTES_PER_TOKEN = 4
#: Stands for a model where a path names none. No catalog knows it.
NO_MODEL = "pass-through"
FREE_PRICES = {"input_cost_per_token": "0", "output_cost_per_token": "0"}

#: Members of a reply that are ids of things which its caller has made.
MADE = ("id", "output_file_id", "error_file_id", "output_file", "error_file")
#: Gemini calls by its name what others give an id.
GEMINIS = "cachedContents/"
#: Kinds of replies that nobody takes for a page, beside those that every call may have.
TYPES = frozenset({b"application/vnd.amazon.eventstream", b"application/x-jsonl", b"application/jsonl"})
#: What limits the output in one dialect or another, as a path of members.
LIMITS = (
    ("max_tokens",),
    ("max_completion_tokens",),
    ("max_output_tokens",),
    ("inferenceConfig", "maxTokens"),
    ("max_gen_len",),
    ("maxTokens",),
)
NOTHING_WRITTEN = frozenset({"embedding", "cohere_embed"})

_CONTENT_TYPE = re.compile(rb"[\w.+-]+/[\w.+-]+(?:;[\x20-\x7e]*)?")
_QUERY = re.compile(rb"[\x21-\x7e]*")
#: Query members by which clients show their keys.
_SECRET_MEMBERS = frozenset({b"key", b"api_key", b"api-key", b"access_token"})
_LONG_DATA = re.compile(rb'"(?:data:[^",]{0,200};base64,)?[A-Za-z0-9+/=_-]{1024,}"')
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class Rule(Value, frozen=True):
    """One line of an allow-list. `name` says what it is about: `openai/files` is what a caller must be allowed.

    `path` may have the groups `id` and `model`. `makes`: ids in the answer are the caller's. `listed`: the member of the answer
    that is a list of things. `refers`: members of the body that hold ids. `streamed`: the answer may be large, and is no JSON.
    `operation`: the gateway knows how to ask this, and does it in its own way.
    """

    methods: tuple[str, ...]
    path: re.Pattern[str]
    kind: str = FREE
    name: str = ""
    makes: bool = False
    listed: str = ""
    refers: tuple[str, ...] = ()
    streamed: bool = False
    operation: str = ""


class Family(Value, frozen=True):
    """A provider's API. `base` is what clients may leave out before its paths. `dialect` is how it tells errors."""

    providers: tuple[str, ...]
    dialect: str
    rules: tuple[Rule, ...]
    base: str = ""


class Passage(Struct):
    """One call's way through. `rest` is the path without the family's name and base; `rule` None: nothing is passed on here."""

    family: str
    rest: str
    rule: Rule | None
    id: str = ""
    model: str = ""
    allowed: tuple[str, ...] = ()  # methods, where another was asked
    fields: dict[str, Raw] = {}
    content_type: bytes = b""


# --- who answers ---------------------------------------------------------------------------------------------------


class Providers(Snapshot):
    """The snapshot in force as pass-through calls to one family see it: its models are the provider's own, by the provider's
    names; no alias and no fallback leads elsewhere.
    """

    def __init__(self, base: Snapshot, name: str, family: Family) -> None:
        # Who may ask, and whose budgets and paces count, is as it is in force, whatever that comes to hold.
        self.take_after(base)
        self.config = replace(base.config, single_model=None, routing=RoutingSettings(retries=0))
        self.models, self.single, self._wildcards = {}, None, []
        self._made, self._by_target, self._by_id = {}, {}, {}
        self._name = name
        self._provider = family.providers[0]
        self._kinds = {f"{name}/{rule.name}": rule.kind for rule in family.rules if not rule.operation and rule.name}
        self._configured: dict[str, list[Deployment]] = {}
        self._public: dict[str, list[str]] = {}
        for model in base.models.values():
            for deployment in model.deployments:
                if deployment.provider.name in family.providers and not deployment.entry.blocked:
                    self._configured.setdefault(deployment.target, []).append(deployment)
                    self._public.setdefault(deployment.target, []).append(model.name)
        self._credentials = self._find_credentials(base, family)

    def resolve(self, name: str, aliases: Mapping[str, str] | None = None) -> Model | None:
        known = self._made.get(name)
        if known is not None:
            return known
        configured = self._configured.get(name)
        # A configured one goes by its public name, which budgets of single models know.
        public = self._public[name][0] if configured is not None else name
        model = Model(public, tuple(configured or [self._bound(name)]))
        if len(self._made) >= MODELS_MAX:
            del self._made[next(iter(self._made))]
        self._made[name] = model
        self._reach(model)
        return model

    def groups_of(self, name: str) -> tuple[str, ...]:
        """The other names under which a caller may have been allowed a model: the gateway's own for it."""
        return (f"{self._provider}/{name}", *self._public.get(name, ()))

    def _bound(self, name: str) -> Deployment:
        kind = self._kinds.get(name)
        entry = self._credentials
        prices = FREE_PRICES if kind == FREE else {}
        target = f"{self._provider}/{name if kind is None else NO_MODEL}"
        try:
            bare = replace(
                entry, model_name=self._name, provider_model=target, prices=prices, id=f"pass-through/{self._name}"
            )
            return self._bind(bare, name, target)
        except ConfigError as error:
            raise BadRequest("; ".join(error.problems), param="model") from error

    def _find_credentials(self, base: Snapshot, family: Family) -> ModelEntry:
        """The first entry of the provider at its own address, else its variables, else the first entry at all."""
        of_environment = ModelEntry(NO_MODEL, f"{self._provider}/{NO_MODEL}", provider=self._provider)
        bound = {id(d.entry): d for model in base.models.values() for d in model.deployments}
        found = [
            entry
            for entry in self.config.models
            if not entry.blocked and self._provider_of(entry, bound.get(id(entry))) in family.providers
        ]
        own = [entry for entry in found if entry.api_base is None or self._provider == "azure"]
        if own:
            return _bare(own[0], self._provider)
        deployment = self._bind(of_environment, NO_MODEL, of_environment.provider_model)
        return of_environment if deployment.missing is None or not found else _bare(found[0], self._provider)

    def _provider_of(self, entry: ModelEntry, bound: Deployment | None) -> str:
        if bound is None:  # a pattern has no deployment of its own
            name, target = (text.replace("*", NO_MODEL) for text in (entry.model_name, entry.provider_model))
            try:
                bound = self._bind(replace(entry, model_name=name), name, target)
            except (LookupError, ConfigError):
                return ""
        return bound.provider.name


def _bare(entry: ModelEntry, provider: str) -> ModelEntry:
    """An entry's key, address and network, without what it says of its own model."""
    return replace(
        entry,
        provider=provider,
        base_model=None,
        mode=None,
        rpm=None,
        tpm=None,
        parallel_max=None,
        defaults={},
        extra_body={},
        prices={},
    )


# --- the operation -------------------------------------------------------------------------------------------------


class PassThrough:
    """Calls to one provider's own API. `owners` is None where nothing is remembered: then nobody but an administrator reaches what
    is kept.
    """

    name = "chat"  # what a deployment must offer: every provider here answers chat
    call_type = "pass_through_endpoint"
    streams_any = True

    def __init__(self, name: str, family: Family, dialects: dict[str, Any], owners: Owners | None) -> None:
        self.family = family
        self._name = name
        self._dialects = dialects
        self._owners = owners
        self._seen: Providers | None = None

    @property
    def dialect(self) -> Any:
        """How errors are told: in the provider's words, or plainly where it has none for its clients."""
        spoken = self._dialects[self.family.dialect]
        return spoken if hasattr(spoken, "encode_error") else _PLAIN

    def view(self, snapshot: Snapshot) -> Providers:
        """What calls see in place of the snapshot in force; made once for each."""
        seen = self._seen
        if seen is None or seen.number != snapshot.number:
            seen = self._seen = Providers(snapshot, self._name, self.family)
        return seen

    # --- what is asked

    def parse(self, call: Call) -> Awaitable[None] | None:
        passage: Passage = call.encoded
        rule = passage.rule
        if rule is None:
            raise _not_passed(call, passage)
        call.fallbacks_asked, call.retries_asked = [], 0  # what was sent once may have been done
        passage.content_type = call.client_headers.get(b"content-type", b"").strip()
        if call.body and not _CONTENT_TYPE.fullmatch(passage.content_type):
            raise BadRequest("content-type must say what the body is.", param="request_body")
        if rule.kind not in (FREE, UNPRICED) or rule.refers:
            passage.fields = decode_fields(call.body)
        if rule.kind in (FREE, UNPRICED):
            call.model_asked = f"{self._name}/{rule.name}"
        else:
            call.model_asked = passage.model or _text(passage.fields, "model")
            if not call.model_asked:
                raise BadRequest("you must provide a model parameter", param="model")
        call.streaming = rule.streamed or _streams(passage)
        if rule.kind == UNPRICED:
            self._refuse_unpriced(call, passage)
        if passage.id or rule.refers or rule.listed:
            return self._check_owner(call, passage, rule)
        return None

    def _refuse_unpriced(self, call: Call, passage: Passage) -> None:
        key = call.caller.key
        accounts = call.snapshot.gateway_accounts if key is None else key.accounts
        model: Model = call.snapshot.resolve(call.model_asked)
        if model.unpriced and any(account.limit is not None for account in accounts):
            raise BadRequest(
                f"What {call.path} will cost cannot be known beforehand, and this key has a budget. An administrator can allow it "
                f"with `unpriced: allow` on the {passage.family} deployment whose key is used.",
                param="model",
            )

    async def _check_owner(self, call: Call, passage: Passage, rule: Rule) -> None:
        if self._owners is not None:
            await self._owners.refresh()
        ids = [passage.id] if passage.id else []
        for name in rule.refers:
            ids += _ids_in(passage.fields.get(name))
        if rule.refers:
            ids += _files_in([_value(raw) for raw in passage.fields.values()])
        for asked in ids:
            if not self._may_reach(call.caller, asked):
                raise NotFound(f"No such thing among {rule.name or 'these'}: {asked[:100]!r}.", param="id")

    def _may_reach(self, caller: Caller, id: str) -> bool:
        if caller is MASTER:
            return True
        known = self._owners.owner_is(f"{self._name}:{id}", owner_of(caller)) if self._owners is not None else None
        return bool(known) or (known is None and caller is ANONYMOUS)

    # --- what it may cost

    def bound(self, call: Call) -> tuple[int, int]:
        passage: Passage = call.encoded
        output = 0 if passage.rule is None or passage.rule.kind in NOTHING_WRITTEN else _output_limit(call, passage)
        most = max(most_expensive(price, self._input_tokens(call), output) for price in call.model.reachable)
        return most, most

    def shorten(self, call: Call, nano: int) -> None:
        raise RuntimeError("a body that passes as bytes is not shortened, so no hold is smaller than its bound")

    def estimate(self, call: Call, reply: Reply) -> Usage:
        if call.model.free:
            return Usage()
        seen = reply.relay.output_bytes if reply.relay is not None else len(reply.body or b"")
        passage: Passage = call.encoded
        written = 0 if passage.rule is not None and passage.rule.kind in NOTHING_WRITTEN else seen
        return Usage(input=self._input_tokens(call), output=-(-written // BYTES_PER_TOKEN))

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return Usage() if call.model is None or call.model.free else Usage(input=self._input_tokens(call))

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        return None

    def _input_tokens(self, call: Call) -> int:
        text, media = _LONG_DATA.subn(b'""', call.body)
        facts = call.model.deployments[0].facts
        window = facts.input_tokens_max if facts is not None else None
        return input_tokens_bound(len(text), Media(others=media), window_tokens=window)

    # --- there and back

    def spoken(self, deployment: Deployment) -> str:
        return self.family.dialect

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        return None

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        passage: Passage = call.encoded
        head = deployment.heads["chat"]
        _, _, standing = head.partition(b"\r\n")
        target = _target(passage, deployment, call.scope.get("query_string", b""))
        line = b"%b %b HTTP/1.1\r\n" % (call.scope["method"].encode(), target)
        content_type = b"content-type: %b\r\n" % passage.content_type if call.body else b""
        return WireRequest(
            origin=deployment.origin,
            head=line + standing + forwarded_head(call, self.family.dialect) + content_type,
            body=call.body,
            streaming=call.streaming,
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        passage: Passage = call.encoded
        body = wire.body or b""
        reply = Reply(status=wire.status, head=content_type_line(wire), body=body, deployment=deployment, attempt=None)
        rule = passage.rule
        assert rule is not None  # `parse` has looked
        if rule.kind in (FREE, UNPRICED):
            reply.usage = Usage()
        else:
            reply.usage = self._usage(rule.kind, wire, body, call)
        if rule.listed:
            reply.body = self._own_alone(call.caller, body, rule.listed)
        if rule.makes or passage.id:
            ids = _made_in(body)
            reply.reply_id = ids[0] if ids else ""
            if rule.makes:
                self._note(call, ids, passage)
        return reply

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        passage: Passage = call.encoded
        kind = media_type(wire)
        own = b"content-type: %b\r\n" % kind if kind in TYPES else content_type_line(wire)
        head = own + b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        reply = Reply(status=200, head=head, body=None, deployment=deployment, attempt=None)
        rule = passage.rule
        assert rule is not None  # `parse` has looked
        if rule.kind in (FREE, UNPRICED):
            reply.relay = DownloadRelay(Usage())
            return reply
        spoken, unwrapper = rule.kind, None
        if spoken == "bedrock_invoke":
            if family_of(passage.model) != CLAUDE:  # every maker of models has chunks of its own
                reply.relay = DownloadRelay(None)
                return reply
            spoken = "anthropic_messages"
            unwrapper = deployment.provider.unwrapper(spoken)
        relay = WatchingRelay(
            self._dialects[spoken].EventDecoder(),
            unwrapper,
            choices=_choices(passage),
            encode_error=getattr(self.dialect, "encode_stream_error", None),
        )
        reply.relay = relay
        if rule.makes:
            reply.on_settle.append(lambda reply: self._note(call, [relay.reply_id], passage))
        return reply

    def _usage(self, kind: str, wire: WireReply, body: bytes, call: Call) -> Usage | None:
        if kind == "embedding":
            return None
        if kind == "cohere_embed":
            return _cohere_embed_usage(body)
        if kind == "bedrock_invoke":
            return _invoke_usage(wire) or self._dialects["anthropic_messages"].decode_usage(body)
        return self._dialects[kind].decode_usage(body)  # type: ignore[no-any-return]

    # --- whose things

    def _note(self, call: Call, ids: list[str], passage: Passage) -> None:
        """What a call made is its caller's. Asked for again, what is his leads to more that is: the results of a batch."""
        if self._owners is not None and call.caller is not MASTER:
            self._owners.note([f"{self._name}:{made}" for made in ids if made], owner_of(call.caller))

    def _own_alone(self, caller: Caller, body: bytes, listed: str) -> bytes:
        if caller is MASTER:
            return body
        try:
            members = _members(body)
            things = msgspec.json.decode(members[listed], type=list[Raw]) if listed in members else []
        except _UNREADABLE as error:
            raise UpstreamBroken("The provider's list cannot be read.") from error
        own = [thing for thing in things if any(self._may_reach(caller, made) for made in _made_in(thing))]
        members[listed] = Raw(encode(own))
        for name, at in (("first_id", 0), ("last_id", -1)):
            if name in members:
                members[name] = Raw(encode(next(iter(_made_in(own[at])), None) if own else None))
        return encode(members)


def owner_of(caller: Caller) -> str:
    """The caller's team, or its key alone; "" for who has none."""
    key = caller.key
    if key is None:
        return ""
    return f"team:{key.team_id}" if key.team_id else f"key:{key.digest.hex()}"


def operations(
    families: Mapping[str, Family], dialects: dict[str, Any], owners: Owners | None = None
) -> dict[str, Any]:
    """All of them, by `pass_through_` and the family's name."""
    return {f"pass_through_{name}": PassThrough(name, family, dialects, owners) for name, family in families.items()}


# --- streams -------------------------------------------------------------------------------------------------------


class DownloadRelay:
    """Bytes as they come, of which nothing is looked at and some may be none at all. See `tollway.dialects.Relay`."""

    reply_id = ""

    def __init__(self, usage: Usage | None) -> None:
        self.usage = usage
        self.content_started = True
        self.finishing = False
        self.complete = False
        self.output_bytes = 0

    def feed(self, data: bytes) -> bytes:
        self.output_bytes += len(data)
        return data

    def end(self) -> bytes:
        self.complete = self.finishing = True
        return b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        return b""

    def fail(self, error: PublicError) -> None:
        """There are no words for it in a file: the connection has to be cut."""
        return


class WatchingRelay:
    """A stream that passes byte for byte, while `decoder` reads along. See `tollway.dialects.Relay`."""

    def __init__(
        self,
        decoder: Any,
        unwrapper: Any = None,
        *,
        choices: int = 1,
        encode_error: Callable[[PublicError], bytes] | None = None,
    ) -> None:
        self._decoder = decoder
        self._encode_error = encode_error
        self._unwrapper = unwrapper
        self._choices_left = choices
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._unsent = b""
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.usage: Usage | None = None
        self.reply_id = ""
        self.output_bytes = 0

    def feed(self, data: bytes) -> bytes:
        try:
            told = data if self._unwrapper is None else self._unwrapper.feed(data)
            self._look_at(self._decoder.feed(told))
        except UpstreamError:
            self._unsent = data
            raise
        if self._decoder.complete:
            self.complete = self.finishing = True
        return self._keep_or_send(data)

    def end(self) -> bytes:
        self._look_at(self._decoder.end())
        self.complete = True
        self.finishing = self.finishing or self._choices_left <= 0
        return b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        self.complete = True
        return b"".join(self._held)

    def fail(self, error: PublicError) -> bytes | None:
        """The provider's own words, in which it told of an error, else ours; where there are none, the connection has to be cut."""
        if not self._unsent and self._encode_error is None:
            return None
        last = self._unsent or (self._encode_error(error) if self._encode_error is not None else b"")
        return b"".join(self._held) + last

    def _look_at(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, TextPiece | ReasoningPiece | ToolArgumentsPiece):
                self.content_started = True
                self.output_bytes += len(event.text.encode("utf-8", "surrogatepass"))
            elif isinstance(event, UsageSeen):
                self.usage = event.usage
            elif isinstance(event, Finished):
                self._choices_left -= 1
                self.content_started = True
                self.finishing = self._choices_left <= 0
            elif isinstance(event, Started):
                self.reply_id = event.id

    def _keep_or_send(self, data: bytes) -> bytes:
        if not self.finishing:
            return data
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes after its last event.")
        self._held.append(data)
        return b""


# --- pieces --------------------------------------------------------------------------------------------------------


class _Plain:
    """Errors of providers whose clients read a message and the status: Amazon's and Cohere's."""

    NAME = "plain"

    @staticmethod
    def encode_error(error: PublicError) -> bytes:
        return encode({"message": error.message, "type": error.type})


_PLAIN = _Plain()


def _not_passed(call: Call, passage: Passage) -> Rejection:
    if passage.allowed:
        allow = ", ".join(passage.allowed)
        return Rejection(
            f"{call.scope['method']} is not passed on to {passage.family} here, only {allow}.",
            status=405,
            type="invalid_request_error",
            code="method_not_allowed",
            headers=((b"allow", allow.encode()),),
        )
    return NotFound(
        f"{call.scope['method']} {call.path[:200]} is not passed on to {passage.family}.",
        type="invalid_request_error",
        code="unknown_url",
    )


def _target(passage: Passage, deployment: Deployment, query: bytes) -> bytes:
    """Path and query at the provider."""
    provider = deployment.provider
    if not _QUERY.fullmatch(query):
        raise BadRequest("The query holds what no query can.", param="query")
    members = [part for part in query.split(b"&") if part and part.partition(b"=")[0].lower() not in _SECRET_MEMBERS]
    rest = passage.rest
    if passage.family == "bedrock":
        _, _, ending = rest.rpartition("/")
        path = f"/model/{quote(passage.model, safe='')}/{ending}"
    elif isinstance(provider, VertexAI):
        # Project and location are the configuration's to say: its credentials pay.
        version, _, ending = rest[1:].partition("/projects/")
        path = f"/{version}{provider.place}/{quote(ending.split('/', 3)[3], safe='/:@')}"
    else:
        path = quote(rest, safe="/:@+~")
        if isinstance(provider, Azure):
            if provider.version == "v1":
                path = "/v1" + path
            elif not any(part.startswith(b"api-version=") for part in members):
                members.append(b"api-version=" + quote(provider.version, safe="").encode())
    base = urlsplit(deployment.public_base).path.rstrip("/")
    return (base + path).encode() + (b"?" + b"&".join(members) if members else b"")


def _text(fields: dict[str, Raw], name: str) -> str:
    value = _value(fields.get(name))
    return value if isinstance(value, str) else ""


def _value(raw: Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except _UNREADABLE:
        return None


def _streams(passage: Passage) -> bool:
    if passage.family in ("bedrock", "vertex_ai"):
        return passage.rest.endswith(("-stream", ":streamRawPredict")) or _value(passage.fields.get("stream")) is True
    return _value(passage.fields.get("stream")) is True


def _ids_in(raw: Raw | None) -> list[str]:
    """Ids that a member of a body holds: one, or a list."""
    value = _value(raw)
    found = value if isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, str) and each]


def _files_in(value: Any) -> list[str]:
    """Files that a body speaks of anywhere in it."""
    if isinstance(value, list):
        return [found for inner in value for found in _files_in(inner)]
    if not isinstance(value, dict):
        return []
    named = value.get("file_id")
    own = [named] if isinstance(named, str) else [id_ for id_ in value.get("file_ids") or () if isinstance(id_, str)]
    return own + [found for inner in value.values() for found in _files_in(inner)]


def _made_in(body: bytes | Raw) -> list[str]:
    """Ids that an answer tells of: its own first."""
    try:
        members = _members(body)
    except _UNREADABLE:
        return []
    ids = [made for name in MADE if isinstance(made := _value(members.get(name)), str) and made]
    name = _text(members, "name")
    return [*ids, name] if name.startswith(GEMINIS) else ids  # elsewhere a name is what somebody chose


def _output_limit(call: Call, passage: Passage) -> int:
    for names in LIMITS:
        value = _value(passage.fields.get(names[0]))
        for name in names[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value * _choices(passage)
    return int(call.model.output_tokens_max) * _choices(passage)


def _choices(passage: Passage) -> int:
    n = _value(passage.fields.get("n"))
    if n is None:
        return 1
    if not isinstance(n, int) or not 1 <= n <= 128:
        raise BadRequest("n must be between 1 and 128.", param="n")
    return n


def _cohere_embed_usage(body: bytes) -> Usage | None:
    """https://docs.cohere.com/reference/embed#response.body.meta (2026-11-22)"""
    try:
        meta = msgspec.json.decode(body, type=CohereEmbedded).meta
    except _UNREADABLE:
        return None
    billed = meta.billed_units if meta is not None else None
    if billed is None:
        return None
    usage = Usage(input=int(billed.input_tokens or 0), images=int(billed.images or 0))
    return usage if usage.input or usage.images else None


def _invoke_usage(wire: WireReply) -> Usage | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html (2026-11-22)"""
    headers = dict(wire.headers)
    read, written = (headers.get(b"x-amzn-bedrock-%b-token-count" % way, b"") for way in (b"input", b"output"))
    if not read.isdigit():
        return None
    return Usage(input=int(read), output=int(written) if written.isdigit() else 0)
