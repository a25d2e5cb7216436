"""OpenClaw, onboarded as the user's page says, does its work through Tollway.

Each turn is judged by what OpenClaw said, by what reached the provider, and by the spend rows.
"""

from __future__ import annotations

import base64
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .gateway import CLAUDE_USD, GPT_4O_USD, Gateway
from .inputs import red_png, word
from .openclaw import REMOTE_NAME, OpenClaw
from .provider import Provider, Received

CLAUDE, GPT = "litellm/claude-opus-4-6", "litellm/gpt-4o"
PRICE = {CLAUDE: CLAUDE_USD, GPT: GPT_4O_USD}


def blocks_of(request: Received, kind: str) -> list[dict[str, Any]]:
    """The content parts or blocks of one type, in all messages of a request."""
    contents = [message["content"] for message in request.json["messages"] if isinstance(message["content"], list)]
    return [block for content in contents for block in content if block["type"] == kind]


def answered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["status"] == "success"]


class Watch:
    """What a test adds to the spend rows of one key."""

    def __init__(self, tollway: Gateway, key: str) -> None:
        self.tollway, self.key = tollway, key
        self.before = {row["request_id"] for row in tollway.rows(key)}

    def new(self, count: int) -> list[dict[str, Any]]:
        rows = self.tollway.wait_for_rows(self.key, len(self.before) + count)
        return [row for row in rows if row["request_id"] not in self.before]


@pytest.fixture
def watch(tollway: Gateway, openclaw: OpenClaw) -> Watch:
    return Watch(tollway, openclaw.key)


# ---- onboarding ----------------------------------------------------------------------------------------


def test_onboarding_points_openclaw_at_the_gateway_and_the_models_are_discovered(openclaw: OpenClaw) -> None:
    listed = openclaw.run("models", "list", "--provider", "litellm", "--refresh", "--json").stdout
    assert "litellm/gpt-4o" in listed
    assert "litellm/claude-opus-4-6" in listed
    assert "litellm/whisper-1" not in listed, "only models that chat are offered"


# ---- turns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_text_turn_is_answered_and_paid_for(openclaw: OpenClaw, provider: Provider, watch: Watch, model: str) -> None:
    says = word("TEXT")
    name = model.removeprefix("litellm/")
    assert openclaw.turn(says, model=model, session=says) == f"E2E-TEXT-OK from {name}"

    (request,) = provider.received(says)
    assert (request.path, request.model) == ("/v1/messages" if model == CLAUDE else "/v1/chat/completions", name)
    assert openclaw.key not in str(request.headers) + request.body
    assert request.headers["x-api-key" if model == CLAUDE else "authorization"].endswith("sk-provider")

    (row,) = watch.new(1)
    assert row["spend"] == pytest.approx(PRICE[model])
    assert (row["prompt_tokens"], row["completion_tokens"], row["status"]) == (1200, 34, "success")
    assert row["model_group"] == name


def test_messages_of_one_role_in_a_row_become_one_for_anthropic(openclaw: OpenClaw, provider: Provider) -> None:
    says = word("TEXT")
    openclaw.turn(says, model=CLAUDE, session=says)
    openclaw.turn(f"again {says}", model=CLAUDE, session=says)
    *_, request = provider.received(says)
    assert [message["role"] for message in request.json["messages"]] == ["user", "assistant", "user"]
    assert isinstance(request.json["system"], list | str)
    assert request.json["max_tokens"] > 0


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_tool_is_called_and_its_result_comes_back(
    openclaw: OpenClaw, provider: Provider, watch: Watch, model: str
) -> None:
    says = word("EXEC")
    assert openclaw.turn(says, model=model, session=says) == "E2E-EXEC-OK e2e-exec-42"

    _, second = provider.received(says)
    if model == CLAUDE:
        (called,), (result,) = blocks_of(second, "tool_use"), blocks_of(second, "tool_result")
        assert called["input"] == {"command": "echo e2e-exec-$((6*7))"}
        assert called["id"] == result["tool_use_id"]
    else:
        (called,) = next(m["tool_calls"] for m in second.json["messages"] if m.get("tool_calls"))
        (result,) = [m for m in second.json["messages"] if m["role"] == "tool"]
        assert called["id"] == result["tool_call_id"]
    assert "e2e-exec-42" in str(result["content"])
    assert sum(row["spend"] for row in watch.new(2)) == pytest.approx(2 * PRICE[model])


def test_tool_schemas_reach_both_providers_unchanged(openclaw: OpenClaw, provider: Provider) -> None:
    says = word("TEXT")
    openclaw.turn(f"{says}-a", model=GPT, session=f"{says}-a")
    openclaw.turn(f"{says}-b", model=CLAUDE, session=f"{says}-b")
    openai, anthropic = provider.received(says)
    sent = {tool["function"]["name"]: tool["function"]["parameters"] for tool in openai.json["tools"]}
    received = {tool["name"]: tool["input_schema"] for tool in anthropic.json["tools"]}
    both = sent.keys() & received.keys()
    assert {"exec", "read"} <= both
    assert {name: sent[name] for name in both} == {name: received[name] for name in both}


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_two_tools_are_called_at_once(openclaw: OpenClaw, provider: Provider, model: str) -> None:
    says = word("PARALLEL")
    assert openclaw.turn(says, model=model, session=says) == "E2E-PARALLEL-OK left-41 and right-42"
    first, second = provider.received(says)
    assert not blocks_of(first, "tool_result")
    if model == CLAUDE:
        assert len(blocks_of(second, "tool_use")) == len(blocks_of(second, "tool_result")) == 2
        assert [m["role"] for m in second.json["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize("model", [CLAUDE, GPT])
def test_a_picture_reaches_the_model(openclaw: OpenClaw, provider: Provider, model: str) -> None:
    """GPT-4o is known to OpenClaw by discovery alone: its row must say that it takes pictures."""
    says = word("PICTURE")
    picture = base64.b64encode(red_png()).decode()
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": f"{says} what do you see?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    assert openclaw.turn(parts, model=model, session=says) == "E2E-PICTURE-OK saw 1"
    (request,) = provider.received(says)
    if model == CLAUDE:
        (image,) = blocks_of(request, "image")
        assert image["source"]["type"] == "base64"
        assert base64.b64decode(image["source"]["data"])
    else:
        (image,) = blocks_of(request, "image_url")
        assert image["image_url"]["url"].startswith("data:image/")


def test_reasoning_is_kept_by_openclaw_and_never_sent_to_anthropic_unsigned(
    openclaw: OpenClaw, provider: Provider
) -> None:
    says = word("THINK")
    assert openclaw.turn(says, model=CLAUDE, session=says) == "E2E-THINK-OK the answer is 42."
    after = word("TEXT")
    assert openclaw.turn(after, model=CLAUDE, session=says).startswith("E2E-TEXT-OK")

    stored = [path for path in (openclaw.home / ".openclaw").rglob("*") if path.is_file() and path.suffix != ".log"]
    assert any(b"E2E-REASONING six times seven" in path.read_bytes() for path in stored), (
        "OpenClaw did not see the reasoning"
    )
    (request,) = provider.received(after)
    assert all(block.get("signature") for block in blocks_of(request, "thinking"))
    assert "E2E-THINK-OK the answer is 42." in request.body


def test_six_sessions_at_once_get_each_their_own_answer(openclaw: OpenClaw, provider: Provider, watch: Watch) -> None:
    says = [word("EXEC") for _ in range(6)]
    with ThreadPoolExecutor(6) as sessions:
        turns = [sessions.submit(openclaw.turn, w, model=(GPT, CLAUDE)[at % 2], session=w) for at, w in enumerate(says)]
        answers = [turn.result() for turn in turns]
    assert answers == ["E2E-EXEC-OK e2e-exec-42"] * 6
    assert [len(provider.received(w)) for w in says] == [2] * 6
    rows = watch.new(12)
    assert sum(row["spend"] for row in rows) == pytest.approx(6 * GPT_4O_USD + 6 * CLAUDE_USD)


# ---- other kinds of model ------------------------------------------------------------------------------


def test_an_image_is_generated(openclaw: OpenClaw, provider: Provider, watch: Watch, tmp_path: Path) -> None:
    prompt, output = f"a lobster {word('IMAGE')}", tmp_path / "lobster.png"
    openclaw.infer("image", "generate", "--model", "litellm/gpt-image-2", "--prompt", prompt, "--output", str(output))
    (written,) = tmp_path.glob("lobster*.png")
    assert written.read_bytes().startswith(b"\x89PNG")
    (request,) = provider.received(prompt, path="/images/generations")
    assert request.model == "gpt-image-2"
    (row,) = watch.new(1)
    assert (row["model_group"], row["status"]) == ("gpt-image-2", "success")


def test_texts_are_embedded(openclaw: OpenClaw, provider: Provider, watch: Watch) -> None:
    text = f"the tide {word('EMBED')}"
    made = openclaw.infer("embedding", "create", "--model", "litellm/text-embedding-3-small", "--text", text)
    assert "0.75" in str(made)
    (request,) = provider.received(text, path="/embeddings")
    assert request.model == "text-embedding-3-small"
    (row,) = watch.new(1)
    assert row["model_group"] == "text-embedding-3-small"


@pytest.mark.slow
def test_words_are_spoken_and_heard(
    fresh_openclaw: OpenClaw, tollway: Gateway, provider: Provider, virtual_key: str, tmp_path: Path
) -> None:
    """Speech goes through OpenClaw's `openai` provider, pointed at the gateway."""
    claw, base = fresh_openclaw, f"{tollway.url}/v1"
    claw.onboard(tollway.url, virtual_key)
    claw.environment["OPENAI_API_KEY"] = virtual_key
    pointed = {"baseUrl": base, "models": [], "request": {"allowPrivateNetwork": True}}
    claw.configure({"models": {"providers": {"openai": pointed}}, "tts": {"providers": {"openai": {"baseUrl": base}}}})

    says, spoken = word("SPEAK"), tmp_path / "spoken.mp3"
    claw.infer("tts", "convert", "--local", "--model", "openai/tts-1", "--text", says, "--output", str(spoken))
    assert spoken.read_bytes() == b"E2E-SPEECH-BYTES"
    assert provider.received(says, path="/audio/speech")

    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\x10\x00" * 16_000)
    heard = claw.infer("audio", "transcribe", "--file", str(sound), "--model", "openai/gpt-4o-transcribe")
    assert "E2E-HEARD the spoken words" in str(heard)
    assert provider.received("gpt-4o-transcribe", path="/audio/transcriptions")
    rows = tollway.wait_for_rows(virtual_key, 2)
    assert [row["model_group"] for row in rows] == ["tts-1", "gpt-4o-transcribe"]


# ---- when something fails ------------------------------------------------------------------------------


def test_the_gateways_fallback_answers_when_the_provider_fails(
    openclaw: OpenClaw, provider: Provider, watch: Watch
) -> None:
    says = word("TEXT")
    assert openclaw.turn(says, model="litellm/with-fallback", session=says) == "E2E-TEXT-OK from gpt-4o"
    assert [request.model for request in provider.received(says)] == ["broken-500", "gpt-4o"]
    rows = watch.new(1)
    assert sum(row["spend"] for row in rows) == pytest.approx(GPT_4O_USD)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_stream_that_breaks_is_asked_for_again(
    openclaw: OpenClaw, provider: Provider, watch: Watch, model: str
) -> None:
    says = word("CUT")
    assert openclaw.turn(says, model=model, session=says) == "E2E-CUT-OK"
    assert len(provider.received(says)) == 2
    broken, whole = watch.new(2)
    assert (broken["status"], whole["status"]) == ("failure", "success")
    assert broken["spend"] > 0, "the provider read the prompt before it broke"
    assert whole["spend"] == pytest.approx(PRICE[model])


def test_a_provider_that_fails_once_is_asked_again(openclaw: OpenClaw, provider: Provider) -> None:
    says = word("FLAKY")
    assert openclaw.turn(says, model=GPT, session=says) == "E2E-FLAKY-OK"
    assert len(provider.received(says)) == 2


# ---- usage and cost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_openclaw_shows_what_the_gateway_charged(openclaw: OpenClaw, watch: Watch, model: str) -> None:
    shown = openclaw.exec(f"{word('TEXT')} please", model=model)
    assert shown["ok"] is True
    assert (shown["usage"]["input"], shown["usage"]["output"]) == (1200, 34)
    assert shown["costUsd"] == pytest.approx(PRICE[model])
    assert shown["usage"]["cost"]["totalOrigin"] == "provider-billed"
    (row,) = watch.new(1)
    assert row["spend"] == pytest.approx(shown["costUsd"])


@pytest.mark.slow
@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_gateway_that_is_not_on_loopback_shows_usage_and_cost_too(
    fresh_openclaw: OpenClaw, tollway: Gateway, virtual_key: str, model: str
) -> None:
    """To such a gateway OpenClaw sends no `stream_options`."""
    fresh_openclaw.looks_remote()
    fresh_openclaw.onboard(f"http://{REMOTE_NAME}:{tollway.port}", virtual_key)
    # What OpenClaw asks for before it sends a key to a host of a private network.
    fresh_openclaw.configure({"models": {"providers": {"litellm": {"request": {"allowPrivateNetwork": True}}}}})
    shown = fresh_openclaw.exec(f"{word('TEXT')} please", model=model)
    assert (shown["usage"]["input"], shown["usage"]["output"]) == (1200, 34)
    assert shown["costUsd"] == pytest.approx(PRICE[model])


# ---- slow: what OpenClaw does when things stay broken -----------------------------------------------------


@pytest.mark.slow
def test_openclaws_own_fallback_answers_although_it_goes_through_the_same_key(
    fresh_openclaw: OpenClaw, tollway: Gateway, virtual_key: str
) -> None:
    """A provider that is unpaid, refuses our key, is busy or down, is not the gateway refusing OpenClaw's key.

    OpenClaw cools or disables the key of a whole provider otherwise, and a fallback of the same gateway is not tried.
    """
    claw = fresh_openclaw
    claw.onboard(tollway.url, virtual_key)
    statuses = ("401", "402", "429", "500")
    with ThreadPoolExecutor(len(statuses)) as turns:
        shown = turns.map(
            lambda status: claw.exec(word("TEXT"), model=f"litellm/broken-{status}", fallbacks=(GPT,)), statuses
        )
    assert {status: answer["final"] for status, answer in zip(statuses, shown, strict=True)} == dict.fromkeys(
        statuses, "E2E-TEXT-OK from gpt-4o"
    )
    assert claw.exec(word("TEXT"), model=GPT)["final"] == "E2E-TEXT-OK from gpt-4o"
    rows = answered(tollway.wait_for_rows(virtual_key, lambda rows: len(answered(rows)) == len(statuses) + 1))
    assert sum(row["spend"] for row in rows) == pytest.approx(GPT_4O_USD * (len(statuses) + 1))


@pytest.mark.slow
def test_a_spent_budget_stops_the_turn_and_a_raised_one_lets_the_next_pass(
    fresh_openclaw: OpenClaw, tollway: Gateway, provider: Provider, virtual_key: str
) -> None:
    claw = fresh_openclaw
    claw.onboard(tollway.url, virtual_key)
    claw.serve()
    assert claw.turn(word("TEXT"), model=GPT, session="before").startswith("E2E-TEXT-OK")
    tollway.wait_for_rows(virtual_key, 1)

    _set_budget(tollway, virtual_key, usd=0.001)
    refused = word("TEXT")
    with pytest.raises(AssertionError, match=r"(?i)budget"):
        claw.turn(refused, model=GPT, session="spent")
    assert provider.received(refused) == []

    _set_budget(tollway, virtual_key, usd=50.0)
    assert claw.turn(word("TEXT"), model=GPT, session="after").startswith("E2E-TEXT-OK")


def _set_budget(tollway: Gateway, key: str, *, usd: float) -> None:
    answer = tollway.client.post("/key/update", json={"key": key, "max_budget": usd}, headers=tollway.as_master())
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_a_conversation_too_long_is_compacted_although_fallbacks_are_configured(
    fresh_openclaw: OpenClaw, tollway: Gateway, provider: Provider, virtual_key: str
) -> None:
    claw = fresh_openclaw
    claw.onboard(tollway.url, virtual_key)
    # OpenClaw leaves its last 20 000 tokens alone, and audits what a model wrote as a summary: ours is scripted and short.
    compaction = {"keepRecentTokens": 2000, "qualityGuard": {"enabled": False}}
    claw.configure({"agents": {"defaults": {"compaction": compaction}}})
    claw.serve()
    session, model = word("TEXT"), "litellm/claude-with-fallbacks"
    for part in range(6):
        filler = " ".join(f"word{part}x{at}" for at in range(1200))
        claw.turn(f"{session} part {part}: {filler}", model=model, session=session)
    says = word("OVERFLOW")
    assert claw.turn(says, model=model, session=session) == "E2E-OVERFLOW-OK after compaction"
    assert any("summarization assistant" in request.body for request in provider.received())
    *_, last = provider.received(says)
    assert "E2E-SUMMARY" in last.body
