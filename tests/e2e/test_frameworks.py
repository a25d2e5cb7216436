"""Python's frameworks on top of the SDKs: LangChain, Pydantic AI and Instructor, each on models of either wire."""

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
from .installed import FRAMEWORKS, install_framework
from .provider import Provider

SCRIPT = Path(__file__).with_name("frameworks.py")
CASE_S_MAX = 240.0
CHATTING = (
    *("langchain-openai", "langchain-responses", "langchain-anthropic"),
    *("pydantic-ai", "pydantic-ai-anthropic"),
)

each_framework = pytest.mark.parametrize("framework", CHATTING)
each_model = pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-6"])


@pytest.fixture(scope="session")
def pythons(request: pytest.FixtureRequest) -> dict[str, Path]:
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    return {
        name: install_framework(name, lambda line: terminal.write_line(line) if terminal else None)
        for name in FRAMEWORKS
    }


def run(pythons: dict[str, Path], *arguments: str) -> Any:
    python = next(python for name, python in pythons.items() if arguments[0].startswith(name))
    done = subprocess.run(
        [str(python), str(SCRIPT), *arguments], capture_output=True, text=True, timeout=CASE_S_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def ask(pythons: dict[str, Path], tollway: Gateway, virtual_key: str) -> Callable[[str, str, str, str], Any]:
    """ask(framework, case, model, word): what the program tells."""
    return lambda framework, case, model, says: run(pythons, framework, case, tollway.url, virtual_key, model, says)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_versions_are_those_that_are_asked_for(pythons: dict[str, Path], name: str) -> None:
    versions = run(pythons, name, "versions")
    print(versions)
    assert {"openai", name if name == "instructor" else f"{name}-{'slim' if name == 'pydantic-ai' else 'openai'}"} <= {
        *versions
    }


@each_framework
@each_model
def test_a_chat_is_answered_whole_and_streamed_alike(ask: Any, framework: str, model: str) -> None:
    for case in ("chat", "stream"):
        told = ask(framework, case, model, word("TEXT"))
        # The provider counts input at the end of a stream only; LangChain looks for it at the beginning.
        late = (framework, case, model) == ("langchain-anthropic", "stream", "claude-opus-4-6")
        assert told == {"text": f"E2E-TEXT-OK from {model}", "usage": [0 if late else 1200, 34]}


@pytest.mark.slow
@each_framework
@each_model
def test_parallel_tools_go_there_and_back(ask: Any, framework: str, model: str) -> None:
    told = ask(framework, "tools", model, word("PARALLEL"))
    assert told.get("calls") == 2, told
    assert re.fullmatch(r"E2E-PARALLEL-OK .*Paris found.* and .*Oslo found.*", told["text"])


@pytest.mark.parametrize("framework", [*CHATTING, "instructor"])
@each_model
def test_an_answer_keeps_to_a_schema(ask: Any, framework: str, model: str) -> None:
    told = ask(framework, "structured", model, word("STRUCT"))
    if (framework, model) == ("pydantic-ai-anthropic", "gpt-4o"):
        assert "not supported by this model" in told["error"]["message"]  # so it says itself, by the model's name
    else:
        assert told == {"city": "Paris", "people": 2100000}


@pytest.mark.slow
@each_framework
@each_model
@pytest.mark.parametrize(("case", "script"), [("picture", "PICTURE"), ("document", "FILE")])
def test_a_picture_and_a_document_arrive(ask: Any, framework: str, model: str, case: str, script: str) -> None:
    assert ask(framework, case, model, word(script)).get("text") == f"E2E-{script}-OK saw 1"


@pytest.mark.slow
@each_framework
@pytest.mark.parametrize("model", ["o4-mini", "claude-opus-4-6"])
def test_thought_is_told_apart_from_the_answer(ask: Any, framework: str, model: str) -> None:
    told = ask(framework, "reasoning", model, word("THINK"))
    assert told.get("text") == "E2E-THINK-OK the answer is 42.", told
    if framework != "langchain-openai":  # it does not look for thought in chat completions
        assert told["thought"] == "E2E-REASONING six times seven is forty two."


@pytest.mark.slow
@each_framework
@each_model
def test_a_client_that_leaves_a_stream_leaves_the_provider_too(
    ask: Any, provider: Provider, framework: str, model: str
) -> None:
    says = word("SLOW")
    assert ask(framework, "cancel", model, says) == {"seen": 3}
    assert provider.wait_until_left(says).model == model


@pytest.mark.slow
@each_framework
@each_model
def test_an_error_of_the_provider_is_the_sdks_own(ask: Any, framework: str, model: str) -> None:
    told = ask(framework, "error", model, word("FAIL429"))
    assert told["error"]["status"] == 429, told
    assert "Rate limit reached for requests" in told["error"]["message"]
