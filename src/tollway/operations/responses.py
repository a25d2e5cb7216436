"""Responses: OpenAI's newer way to chat, with what was said kept by the server.

https://platform.openai.com/docs/api-reference/responses (2026-11-22). A provider that speaks it gets the client's own bytes;
the others are asked in their own dialect, and what they do not keep is kept here (`storage.responses`), unless the client says
`store: false`. An id that a provider made is sent to the deployment that made it, and to no other.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode

from tollway.calls import NO_COST, Call, Reply, Usage
from tollway.dialects import About, Relay, TranslatingRelay, openai_responses
from tollway.errors import BadRequest, NotFound
from tollway.operations import STREAM_HEAD, raw, text_field
from tollway.operations.chat import Chat, Words
from tollway.operations.shapes import ToldResponse
from tollway.pricing.bound import input_tokens_bound
from tollway.pricing.price import Price
from tollway.snapshot import ANONYMOUS, MASTER, Caller, Deployment
from tollway.storage.responses import KeptResponse
from tollway.storage.responses import Responses as Store
from tollway.upstream.wire import WireReply, WireRequest

WORDS = Words(("max_output_tokens",), "resp_", input="input", end_user="user")
JSON_HEAD = b"content-type: application/json\r\n"
_FALSE, _TRUE = Raw(b"false"), Raw(b"true")
_NOTHING = (b"", b"null")
#: States of a response in which it will use no more.
ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
#: A page of items where the client does not say, and at most. https://platform.openai.com/docs/api-reference/responses/input-items
ITEMS_USUAL, ITEMS_MAX = 20, 100

_items = msgspec.json.Decoder(list[Raw]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Recalled(Struct):
    """What a call goes on from. `deployment_id`: the only one that knows it; else it stands in the call's fields already.

    `id` is the response's; `kept` what is known of it.
    """

    id: str
    deployment_id: str = ""
    kept: KeptResponse | None = None


_told = msgspec.json.Decoder(ToldResponse).decode


def owner_of(caller: Caller) -> str:
    """Who may ask for what this caller had kept: its key's team, or the key alone. The master key asks for everything."""
    key = caller.key
    if key is None:
        return "master" if caller is MASTER else ""
    return f"team:{key.team_id}" if key.team_id else f"key:{key.digest.hex()}"


def may_ask(caller: Caller, kept: KeptResponse) -> bool:
    return caller is MASTER or (caller is ANONYMOUS and not kept.owner) or owner_of(caller) == kept.owner != ""


class Responses(Chat):
    """`POST /v1/responses`. `store` is None where nothing is kept."""

    streams_any = True  # so that its streams can be kept

    def __init__(self, dialects: dict[str, Any], store: Store | None = None) -> None:
        super().__init__(openai_responses, dialects, WORDS, call_type="aresponses")
        self._store = store

    # --- what is asked

    def parse(self, call: Call) -> Awaitable[None] | None:
        super().parse(call)
        previous = text_field(call.fields, "previous_response_id")
        return self._recall(call, previous) if previous else None

    def _check(self, call: Call, fields: dict[str, Raw]) -> None:
        # A provider that keeps what is said needs no input: its own words take its place.
        kept = ("previous_response_id", "conversation", "prompt")
        if not any(bytes(fields.get(name, b"")) not in _NOTHING for name in ("input", *kept)):
            raise BadRequest("Missing required parameter: 'input'.", param="input")
        fields.setdefault("input", Raw(b"[]"))

    async def _recall(self, call: Call, previous: str) -> None:
        kept = recent(call).get(previous)
        if kept is None and self._store is not None:
            kept = await self._store.get(previous)
        if kept is None or not may_ask(call.caller, kept):
            raise BadRequest(
                f"Previous response with id {previous[:100]!r} not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        call.recalled = Recalled(previous, kept.deployment_id)
        if not kept.deployment_id:
            fields = call.fields
            del fields["previous_response_id"]
            fields["input"] = raw([*_items(kept.said), *input_items(fields["input"])])

    # --- what it may cost

    def _input_tokens(self, call: Call) -> int:
        recalled = call.recalled
        if recalled is None:
            return super()._input_tokens(call)
        if recalled.deployment_id:  # the provider adds what nobody here knows the length of
            facts = call.model.deployments[0].facts
            window = facts.input_tokens_max if facts is not None else None
            return window or super()._input_tokens(call)
        return input_tokens_bound(sum(len(bytes(value)) for value in call.fields.values()))

    def estimate(self, call: Call, reply: Reply) -> Usage:
        """Of a response that goes on in the background nothing is known yet but what went in."""
        if call.fields.get("background") == _TRUE and reply.relay is None:
            return self.input_bound(call, 0)
        return super().estimate(call, reply)

    def _thinks(self, call: Call) -> bool:
        return "reasoning" in call.fields

    # --- there and back

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        """A client that warms up its connection (`generate: false`) gets a response without any output, and may go on from
        it. https://platform.openai.com/docs/guides/websocket-mode (2026-11-22)
        """
        if call.fields.get("generate") != _FALSE:
            return None
        body = self.dialect.encode_reply([], self.about(call), Usage())
        reply = Reply(status=200, head=JSON_HEAD, body=body, deployment=deployment, attempt=None, usage=Usage())
        reply.cost = NO_COST
        reply.on_settle.append(lambda reply: self._keep(call, deployment, reply, body))
        return reply

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        recalled = call.recalled
        if recalled is not None and recalled.deployment_id not in ("", deployment.id):
            raise BadRequest(
                f"The response {recalled.id[:100]!r} was made by another deployment, which alone can go on from it.",
                param="previous_response_id",
            )
        return super().encode(call, deployment)

    def _encode_same(self, call: Call, deployment: Deployment) -> bytes:
        body = super()._encode_same(call, deployment)
        if _nothing_is_asked(call.fields):
            members = _members(body)
            del members["input"]  # which was not there
            return encode(members)
        return body

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        reply = super().decode(call, deployment, wire)
        body = reply.body or b""
        reply.on_settle.append(lambda reply: self._keep(call, deployment, reply, body))
        return reply

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        relay = self.relay(call, deployment)
        reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
        reply.relay = relay
        reply.on_settle.append(lambda reply: self._keep(call, deployment, reply, _last_response(relay)))
        return reply

    def relay(self, call: Call, deployment: Deployment) -> Relay:
        about = self.about(call)
        spoken = self.spoken(deployment)
        if spoken == self.speaks:
            return _RememberingPass(about)
        theirs = self._dialects[spoken]
        encoder = self.dialect.EventEncoder(about)
        return _Remembering(about, theirs.EventDecoder(), encoder, json_tool=call.encoded.json_tool)

    def about(self, call: Call) -> About:
        about = super().about(call)
        about.asked = asked = dict(call.fields)
        if self._stores(call):
            asked["store"] = _TRUE
        if call.recalled is not None:
            asked["previous_response_id"] = raw(call.recalled.id)
        return about

    # --- what is kept

    def _stores(self, call: Call) -> bool:
        return self._store is not None and call.fields.get("store") != _FALSE

    def _keep(self, call: Call, deployment: Deployment, reply: Reply, body: bytes) -> None:
        """Called when the reply is settled, with the whole response."""
        memory = getattr(call.line, "recent", None)
        stores = self._stores(call)
        if reply.failure is not None or not body or not (stores or memory is not None):
            return
        try:
            told = _told(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # a response of a shape that nobody can go on from
        native = self.spoken(deployment) == self.speaks and call.fields.get("generate") != _FALSE
        owner, model, now_s = owner_of(call.caller), call.model_asked or call.model.name, call.started_us // 1_000_000
        whole: KeptResponse | None = None
        if not native or memory is not None:
            asked = input_items(call.fields["input"])
            said = encode([*asked, *(without_status(item) for item in told.output)])
            whole = KeptResponse(owner, model, now_s, "", body, encode(asked), said)
        if memory is not None and whole is not None and not (native and call.recalled and call.recalled.deployment_id):
            memory[told.id] = whole
        if stores and self._store is not None:
            ended = told.status in ENDED or not native
            theirs = KeptResponse(owner, model, now_s, deployment.id, charged_nano=reply.cost.total, settled=ended)
            self._store.put(told.id, theirs if native or whole is None else whole)


def recent(call: Call) -> dict[str, KeptResponse]:
    """What the connection itself remembers: the last responses on a WebSocket, also those that nobody is to store."""
    memory: dict[str, KeptResponse] = getattr(call.line, "recent", None) or {}
    return memory


def input_items(given: Raw) -> list[Raw]:
    """A request's input as items: a text alone is a message of the user's."""
    text = bytes(given)
    if text.startswith(b"["):
        return _items(given)
    if text in _NOTHING:
        return []
    content = [{"type": "input_text", "text": Raw(text)}]
    return [raw({"type": "message", "role": "user", "content": content})]


def without_status(item: Raw) -> Raw:
    """An item of a reply as one of a request. Its id and state say nothing to a provider that did not make it."""
    members = _members(item)
    if members.get("type") == Raw(b'"reasoning"'):
        return item  # its id says whose it is
    kept = {name: value for name, value in members.items() if name not in ("id", "status")}
    return raw(kept)


def _nothing_is_asked(fields: dict[str, Raw]) -> bool:
    return bytes(fields["input"]) == b"[]" and ("prompt" in fields or "conversation" in fields)


def _last_response(relay: Any) -> bytes:
    """The response in the event that ended a stream."""
    last: bytes = relay.last
    at = last.rfind(b"\ndata: {")
    if at < 0:
        return b""
    event = _members(last[at + 7 :].split(b"\n", 1)[0])
    return bytes(event.get("response", b""))


class _Remembering(TranslatingRelay):
    last = b""

    def finish(self, usage: Usage | None, cost: Any) -> bytes:
        self.last = super().finish(usage, cost)
        return self.last


class _RememberingPass(openai_responses.PassRelay):
    last = b""

    def finish(self, usage: Usage | None, cost: Any) -> bytes:
        self.last = super().finish(usage, cost)
        return self.last


# --- what is asked of a response that was made ---------------------------------------------------------------------


class ByResponse(Chat):
    """A question about one response: `/v1/responses/{id}` and what stands below it. It costs nothing, but for what a
    response has used in the background since it was last seen.
    """

    streams_any = True
    method = b"GET"
    below = ""  # what stands after the id

    def __init__(self, dialects: dict[str, Any], store: Store | None, *, call_type: str) -> None:
        super().__init__(openai_responses, dialects, WORDS, call_type=call_type)
        self._store = store

    def parse(self, call: Call) -> Awaitable[None] | None:
        call.fields = {}
        call.streaming = _query(call).get("stream") == ["true"]
        call.usage_wanted = True
        return self._find(call, call.route_model or "")

    async def _find(self, call: Call, id: str) -> None:
        kept = await self._store.get(id) if self._store is not None else None
        if kept is None or not may_ask(call.caller, kept):
            raise NotFound(f"Response with id {id[:100]!r} not found.", type="invalid_request_error")
        call.model_asked = kept.model
        call.recalled = Recalled(id, kept.deployment_id, kept)

    # --- what it may cost

    def bound(self, call: Call) -> tuple[int, int]:
        return 0, 0

    def shorten(self, call: Call, nano: int) -> None:
        return

    def estimate(self, call: Call, reply: Reply) -> Usage:
        return Usage()

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return Usage()

    def _choices(self, call: Call) -> int:
        return 1

    # --- there and back

    def answer(self, call: Call, deployment: Deployment) -> Reply | None:
        kept = call.recalled.kept
        if kept.deployment_id:
            return None
        if call.streaming:
            raise BadRequest("This response is not kept as a stream. Ask for it without 'stream'.", param="stream")
        body = self.from_here(call, kept)
        return Reply(status=200, head=JSON_HEAD, body=body, deployment=deployment, attempt=None, usage=Usage())

    def from_here(self, call: Call, kept: KeptResponse) -> bytes:
        return kept.body

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        call.encoded = None
        recalled = call.recalled
        if recalled.deployment_id != deployment.id:
            raise NotFound(f"Response with id {recalled.id[:100]!r} not found.", type="invalid_request_error")
        wire = deployment.wire_for(self.speaks)
        _, path, rest = wire.head.split(b" ", 2)
        path, mark, standing = path.partition(b"?")
        asked = b"&".join([part for part in (standing, call.scope.get("query_string", b"")) if part])
        target = path + b"/" + recalled.id.encode() + self.below.encode() + (b"?" + asked if asked else mark)
        return WireRequest(
            origin=deployment.origin,
            head=b"%b %b %b" % (self.method, target, rest) + self._forwarded_head(call, wire.dialect),
            body=b"",
            streaming=call.streaming,
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = self._renamed(call, wire.body or b"")
        reply = Reply(status=200, head=JSON_HEAD, body=body, deployment=deployment, attempt=None, usage=Usage())
        self.seen(call, deployment, reply)
        return reply

    def _renamed(self, call: Call, body: bytes) -> bytes:
        try:
            members = _members(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return body  # whatever it is, it is the provider's answer
        if "model" in members:
            members["model"] = raw(call.model_asked)
            return encode(members)
        return body

    def seen(self, call: Call, deployment: Deployment, reply: Reply) -> None:
        """Charges what a response that went on in the background has used, once."""
        recalled: Recalled = call.recalled
        kept = recalled.kept
        usage = self.dialect.decode_usage(reply.body or b"")
        if kept is None or kept.settled or usage is None or self._store is None:
            return
        if _told(reply.body or b"{}").status in ENDED:
            reply.usage = usage
            reply.on_settle.append(lambda reply: self._settle(recalled.id, kept, reply))

    def _settle(self, id: str, kept: KeptResponse, reply: Reply) -> None:
        """What was charged when it began is not charged again. The first to see its end pays, and no later one."""
        rest = max(reply.cost.total - kept.charged_nano, 0)
        reply.cost = msgspec.structs.replace(reply.cost, total=rest)
        if self._store is not None:
            self._store.put(id, msgspec.structs.replace(kept, settled=True, charged_nano=kept.charged_nano + rest))

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
        reply.relay = self.dialect.PassRelay(self.about(call))
        return reply

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        return None


class Retrieve(ByResponse):
    """`GET /v1/responses/{id}`."""


class Delete(ByResponse):
    """`DELETE /v1/responses/{id}`."""

    method = b"DELETE"

    def from_here(self, call: Call, kept: KeptResponse) -> bytes:
        self._forget(call)
        return encode({"id": call.recalled.id, "object": "response", "deleted": True})

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        self._forget(call)
        return super().decode(call, deployment, wire)

    def _forget(self, call: Call) -> None:
        if self._store is not None:
            self._store.delete(call.recalled.id)


class Cancel(ByResponse):
    """`POST /v1/responses/{id}/cancel`."""

    method = b"POST"
    below = "/cancel"

    def from_here(self, call: Call, kept: KeptResponse) -> bytes:
        raise BadRequest("Cannot cancel a synchronous response.", param="response_id")


class InputItems(ByResponse):
    """`GET /v1/responses/{id}/input_items`."""

    below = "/input_items"

    def from_here(self, call: Call, kept: KeptResponse) -> bytes:
        """A page of the items, the latest first unless asked otherwise; each has an id."""
        query = _query(call)
        items = []
        for number, item in enumerate(_items(kept.asked)):
            members = _members(item)
            members.setdefault("id", raw(f"{call.recalled.id.replace('resp_', 'msg_', 1)}_in_{number}"))
            items.append(members)
        if query.get("order") != ["asc"]:
            items.reverse()
        ids = [msgspec.json.decode(item["id"], type=str) for item in items]
        after = query.get("after", [""])[0]
        start = ids.index(after) + 1 if after in ids else 0
        try:
            limit = min(max(int(query.get("limit", [str(ITEMS_USUAL)])[0]), 1), ITEMS_MAX)
        except ValueError as error:
            raise BadRequest("limit must be a whole number.", param="limit") from error
        page, page_ids = items[start : start + limit], ids[start : start + limit]
        return encode(
            {
                "object": "list",
                "data": page,
                "first_id": page_ids[0] if page_ids else None,
                "last_id": page_ids[-1] if page_ids else None,
                "has_more": start + limit < len(items),
            }
        )


def _query(call: Call) -> dict[str, list[str]]:
    return parse_qs(call.scope.get("query_string", b"").decode("latin-1"))


def operations(dialects: dict[str, Any], store: Store | None = None) -> dict[str, Chat]:
    """All that can be asked about responses, by name."""
    return {
        "responses": Responses(dialects, store),
        "responses_retrieve": Retrieve(dialects, store, call_type="aget_responses"),
        "responses_delete": Delete(dialects, store, call_type="adelete_responses"),
        "responses_cancel": Cancel(dialects, store, call_type="acancel_responses"),
        "responses_input_items": InputItems(dialects, store, call_type="alist_input_items"),
    }
