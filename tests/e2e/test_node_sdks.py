"""The official SDKs for Node, and Vercel's, on models of either wire: each case is one program run (`sdks.mjs`)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway
from .inputs import word
from .installed import NPM, Installed
from .provider import Provider

SCRIPT = Path(__file__).with_name("sdks.mjs")
CASE_S_MAX = 240.0
SDKS = ("openai", "responses", "anthropic", "genai", "ai-openai", "ai-chat", "ai-anthropic", "ai-google")
MODELS = ("gpt-4o", "claude-opus-4-6")
#: What an SDK calls the end of an answer that is whole.
STOP = {
    "openai": "stop",
    "responses": "completed",
    "anthropic": "end_turn",
    "genai": "STOP",
    "ai-openai": "stop",
    "ai-chat": "stop",
    "ai-anthropic": "stop",
    "ai-google": "stop",
}

Ask = Callable[..., Any]
each_sdk = pytest.mark.parametrize("sdk", SDKS)
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def ask(installed: Installed, tollway: Gateway, virtual_key: str) -> Ask:
    """ask(sdk, case, model, word): what the program tells."""

    def ask(sdk: str, case: str, model: str, says: str) -> Any:
        command = [
            str(installed.node),
            str(SCRIPT),
            str(installed.packages),
            sdk,
            case,
            tollway.url,
            virtual_key,
            model,
        ]
        done = subprocess.run(
            [*command, says],
            env=installed.environment(),
            capture_output=True,
            text=True,
            timeout=CASE_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_the_versions_are_those_that_are_asked_for() -> None:
    print({name: version for name, version in NPM.items() if name not in ("openclaw", "@copilotkit/aimock")})
    assert all(version[0].isdigit() for version in NPM.values())


@each_sdk
@each_model
def test_a_chat_is_answered_whole_and_streamed_alike(ask: Ask, sdk: str, model: str) -> None:
    for case in ("chat", "stream"):
        told = ask(sdk, case, model, word("TEXT"))
        assert told.get("text") == f"E2E-TEXT-OK from {model}", told
        assert told["finish"] == STOP[sdk]
        assert told["usage"] == [1200, 34]
        assert told.get("same", True)
        assert told.get("ordered", True)


@each_sdk
@each_model
def test_parallel_tools_go_there_and_back(ask: Ask, sdk: str, model: str) -> None:
    told = ask(sdk, "tools", model, word("PARALLEL"))
    assert told.get("calls") == 2, told
    # Vercel's SDK for Google wraps each result in JSON.
    assert re.fullmatch(r"E2E-PARALLEL-OK .*\bParis found\b.* and .*\bOslo found\b.*", told["text"])
    assert told["finish"] == STOP[sdk]


@each_sdk
@each_model
def test_an_answer_keeps_to_a_schema(ask: Ask, sdk: str, model: str) -> None:
    told = ask(sdk, "structured", model, word("STRUCT"))
    assert told == {"parsed": {"city": "Paris", "people": 2100000}}


@each_sdk
@each_model
@pytest.mark.parametrize(("case", "script"), [("picture", "PICTURE"), ("document", "FILE")])
def test_a_picture_and_a_document_arrive(ask: Ask, sdk: str, model: str, case: str, script: str) -> None:
    told = ask(sdk, case, model, word(script))
    assert told.get("text") == f"E2E-{script}-OK saw 1", told


@each_sdk
@pytest.mark.parametrize("model", ["o4-mini", "claude-opus-4-6"])
def test_thought_is_told_apart_from_the_answer(ask: Ask, sdk: str, model: str) -> None:
    told = ask(sdk, "reasoning", model, word("THINK"))
    assert told.get("text") == "E2E-THINK-OK the answer is 42.", told
    if sdk != "ai-chat":  # it does not look for thought in chat completions
        assert told["thought"] == "E2E-REASONING six times seven is forty two."


@each_sdk
@each_model
def test_an_error_of_the_provider_is_the_sdks_own(ask: Ask, sdk: str, model: str) -> None:
    told = ask(sdk, "error", model, word("FAIL429"))
    assert told["error"]["status"] == 429, told
    assert "Rate limit reached for requests" in told["error"]["message"]


@each_sdk
@each_model
def test_a_client_that_leaves_a_stream_leaves_the_provider_too(
    ask: Ask, provider: Provider, tollway: Gateway, virtual_key: str, sdk: str, model: str
) -> None:
    says = word("SLOW")
    assert 3 <= ask(sdk, "cancel", model, says)["seen"] < 20  # an SDK may still hand out what it has already read
    provider.wait_until_left(says)
    (row,) = tollway.wait_for_rows(virtual_key, 1)
    assert row["spend"] > 0
