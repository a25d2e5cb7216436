"""docs/compatibility.md says of each cell what the gateway really does there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .table import ADAPTED, ANSWERS, CLIENTS, FEATURES, MODELS, PROVIDERS, SIGNS, page, verdicts

PAGE = Path(__file__).parent.parent.parent / "docs" / "compatibility.md"


def test_the_page_is_what_the_gateway_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python scripts/make_compatibility.py"


@pytest.mark.parametrize("client", CLIENTS)
def test_each_cell_of_the_page_has_the_sign_of_its_verdict(client: str) -> None:
    """Read as a person would read it: by row and column."""
    asked, answered = verdicts()
    title = CLIENTS[client][0]
    section = PAGE.read_text(encoding="utf-8").split(f"## Clients of {title}\n", 1)[1].split("\n## ", 1)[0]
    for cells, head in ((asked, "| asked |"), (answered, "| answered |")):
        table = section[section.index(head) :].split("\n\n", 1)[0].splitlines()
        columns = [cell.strip() for cell in table[0].strip("|").split("|")][1:]
        assert columns == list(PROVIDERS.values())
        for line in table[2:]:
            feature, *signs = [cell.strip() for cell in line.strip("|").split("|")]
            for provider, sign in zip(PROVIDERS, signs, strict=True):
                assert re.sub(r" \(\d+\)", "", sign) == SIGNS[cells[feature, client, provider].word], (
                    feature,
                    provider,
                )


def test_every_feature_of_every_client_has_a_cell_for_every_provider() -> None:
    asked, answered = verdicts()
    assert len(asked) == len(FEATURES) * len(CLIENTS) * len(PROVIDERS)
    assert len(answered) == len(ANSWERS) * len(CLIENTS) * len(PROVIDERS)
    assert set(MODELS) == set(PROVIDERS)
    for feature in FEATURES:
        assert feature.asks, feature.title


@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_says_in_its_providers_own_api_arrives_whole(client: str) -> None:
    asked, answered = verdicts()
    for cells in (asked, answered):
        for (title, whose, provider), verdict in cells.items():
            if whose == client == provider:
                assert verdict.word in ("lossless", "none"), title


#: Whatever else changes: these arrive between any two APIs that chat.
ALWAYS = (
    "Text",
    "System prompt",
    "Tools",
    "Tool call and its result",
    "Picture",
    "Streaming",
    "Output limit",
    "Stop sequences",
)
CHATTING = [provider for provider in PROVIDERS if provider not in ("openai_completions", "replicate")]


@pytest.mark.parametrize("feature", ALWAYS)
def test_what_a_chat_cannot_do_without_arrives_everywhere(feature: str) -> None:
    asked, _ = verdicts()
    for client in CLIENTS:
        for provider in CHATTING:
            verdict = asked[feature, client, provider]
            excused = feature == "Stop sequences" and (client == "openai_responses" or provider == "openai_responses")
            excused |= feature == "Picture" and provider == "cohere_chat"
            assert verdict.word in ("lossless", "adapted", "none") or excused, (client, provider, verdict)


def test_text_calls_and_thought_come_back_to_every_client() -> None:
    _, answered = verdicts()
    for title in ("Text", "Tool calls, two at once", "Thought", "Answer that was cut at its limit"):
        for client in CLIENTS:
            for provider in CHATTING:
                assert answered[title, client, provider].word == "lossless", (title, client, provider)


def test_every_adaptation_is_one_that_some_cell_shows() -> None:
    asked, _ = verdicts()
    shown = {
        (title, provider) for (title, _, provider), verdict in asked.items() if verdict.word in ("adapted", "lossless")
    }
    assert set(ADAPTED) <= shown


def test_media_by_url_are_refused_by_name_where_a_provider_takes_bytes_only() -> None:
    asked, _ = verdicts()
    for title, kind in (("Picture by URL", "image"), ("PDF by URL", "document")):
        for provider in ("bedrock_converse", "ollama_chat"):
            for client in CLIENTS:
                verdict = asked[title, client, provider]
                assert (verdict.word, verdict.about) == ("refused", f"messages[0].content[{kind}]"), (client, provider)
