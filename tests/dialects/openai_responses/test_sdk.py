"""The official SDK reads what is written here. No network: it is given the bytes by its own mock transport."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Event,
    Finished,
    OpaquePiece,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import About
from tollway.dialects.openai_responses import EventEncoder, PassRelay, encode_error, encode_reply
from tollway.dialects.openai_responses.thought import Sealed, seal
from tollway.errors import RateLimited, UpstreamBroken

ABOUT = About(
    model="ours",
    id="resp_1",
    created_s=7,
    asked={
        "tools": Raw(b'[{"type":"function","name":"f","parameters":{},"strict":false}]'),
        "instructions": Raw(b'"x"'),
    },
)
SEARCH = Raw(b'{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}}')
EVENTS: list[Event] = [
    Started("msg_1", "theirs"),
    ReasoningPiece("Hm"),
    ReasoningPiece("."),
    ReasoningPiece(signature="sig"),
    TextPiece("Hel"),
    TextPiece("lö"),
    RefusalPiece("No."),
    OpaquePiece("openai_responses", SEARCH),
    ToolCallStarted(0, "c0", "f"),
    ToolArgumentsPiece(0, '{"a"'),
    ToolCallStarted(1, "c1", "f"),
    ToolArgumentsPiece(0, ":1}"),
    ToolArgumentsPiece(1, "{}"),
    UsageSeen(Usage(input=5, cache_read=2, output=3, reasoning=1)),
]


def client(body: bytes, *, status: int = 200, kind: str = "text/event-stream") -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    return openai.OpenAI(
        api_key="sk-test",
        base_url="http://127.0.0.1:9/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )


def stream_of(events: list[Event]) -> bytes:
    encoder = EventEncoder(ABOUT)
    return b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, Cost(total=2100))


def relayed(stream: bytes) -> bytes:
    relay = PassRelay(About(model="renamed", id="x", created_s=1))
    return relay.feed(stream) + relay.finish(relay.usage, Cost(total=2100))


@pytest.mark.parametrize("relay", [False, True])
def test_the_sdk_gathers_the_stream_into_the_same_response(relay: bool) -> None:
    wire = stream_of([*EVENTS, Finished("tool_calls")])
    with client(relayed(wire) if relay else wire) as sdk, sdk.responses.stream(model="m", input="x") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.id == "resp_1"
    assert final.model == ("renamed" if relay else "ours")
    assert final.output_text == "Hellö"
    assert [item.type for item in final.output] == [
        "reasoning", "message", "web_search_call", "function_call", "function_call"
    ]  # fmt: skip
    calls: list[Any] = [item for item in final.output if item.type == "function_call"]
    assert [(call.call_id, call.arguments, call.status) for call in calls] == [
        ("c0", '{"a":1}', "completed"),
        ("c1", "{}", "completed"),
    ]
    thought: Any = final.output[0]
    assert (thought.summary[0].text, thought.encrypted_content) == ("Hm.", seal(Sealed("sig")))
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.total_tokens) == (7, 4, 11)
    assert final.usage.input_tokens_details.cached_tokens == 2
    assert final.usage.output_tokens_details.reasoning_tokens == 1
    assert final.usage.to_dict()["cost"] == 2.1e-06
    assert (final.status, final.instructions, len(final.tools)) == ("completed", "x", 1)
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"


def test_every_event_has_the_type_and_the_members_that_the_sdk_knows() -> None:
    with client(stream_of([*EVENTS, Finished("stop")])) as sdk:
        events = list(sdk.responses.create(model="m", input="x", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events:
        assert type(event).__name__ != "BaseModel"
        type(event).model_validate(event.to_dict())  # strictly: nothing that it needs is missing
        assert not event.model_extra
    assert {type(event).__name__ for event in events} == {
        "ResponseCreatedEvent", "ResponseInProgressEvent", "ResponseOutputItemAddedEvent", "ResponseOutputItemDoneEvent",
        "ResponseReasoningSummaryPartAddedEvent", "ResponseReasoningSummaryTextDeltaEvent",
        "ResponseReasoningSummaryTextDoneEvent", "ResponseReasoningSummaryPartDoneEvent",
        "ResponseContentPartAddedEvent", "ResponseContentPartDoneEvent", "ResponseTextDeltaEvent", "ResponseTextDoneEvent",
        "ResponseRefusalDeltaEvent", "ResponseRefusalDoneEvent", "ResponseFunctionCallArgumentsDeltaEvent",
        "ResponseFunctionCallArgumentsDoneEvent", "ResponseCompletedEvent",
    }  # fmt: skip


def test_the_sdk_reads_a_reply_that_was_cut_short() -> None:
    with client(stream_of([TextPiece("Hel"), Finished("length")])) as sdk:
        last: Any = list(sdk.responses.create(model="m", input="x", stream=True))[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output_text == "Hel"


def test_the_sdk_reads_a_whole_reply() -> None:
    body = encode_reply([*EVENTS, Finished("stop")], ABOUT)
    with client(body, kind="application/json") as sdk:
        response = sdk.responses.create(model="m", input="x")
    assert response.output_text == "Hellö"
    type(response).model_validate(response.to_dict())


@pytest.mark.parametrize("begun", [True, False])
def test_the_sdk_raises_on_a_stream_that_failed(begun: bool) -> None:
    encoder = EventEncoder(ABOUT)
    wire = encoder.feed([Started("x", "m"), TextPiece("Hel")]) if begun else b""
    with client(wire + encoder.fail(UpstreamBroken("gone"))) as sdk, pytest.raises(openai.APIError, match="gone"):
        list(sdk.responses.create(model="m", input="x", stream=True))


def test_the_sdk_raises_the_error_that_the_status_means() -> None:
    error = RateLimited("slow", code="budget")
    with (
        client(encode_error(error), status=429, kind="application/json") as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        sdk.responses.create(model="m", input="x")
    assert (caught.value.code, caught.value.type) == ("budget", "throttling_error")
