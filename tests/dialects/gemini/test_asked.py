from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import Reasoning
from tollway.dialects.gemini.asked import (
    Carried,
    Limits,
    limits_in,
    lower_output_limit,
    media_in,
    put_settings,
    spelling,
    without_foreign_thought,
)
from tollway.dialects.gemini.parts import UNSIGNED_CALL, pack_thought, wire_signature
from tollway.errors import BadRequest


def fields_of(**members: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in members.items()}


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        (fields_of(contents=[]), Limits()),
        (fields_of(generationConfig=None), Limits()),
        (fields_of(generationConfig={"maxOutputTokens": 5, "candidateCount": 2}), Limits(5, 2)),
        (fields_of(generation_config={"max_output_tokens": 5, "thinking_config": {}}), Limits(5, 1, True)),
    ],
)
def test_limits_are_found_in_either_spelling(fields: dict[str, Raw], limits: Limits) -> None:
    assert limits_in(fields) == limits


@pytest.mark.parametrize(
    "config", [{"maxOutputTokens": 0}, {"candidateCount": 0}, {"candidateCount": 9}, {"maxOutputTokens": "5"}, [1]]
)
def test_what_is_no_limit_is_refused(config: Any) -> None:
    with pytest.raises(BadRequest, match="generationConfig"):
        limits_in(fields_of(generationConfig=config))


def test_a_lower_limit_leaves_other_settings_their_bytes() -> None:
    fields = {"generation_config": Raw(b'{"temperature": 1.0, "max_output_tokens": 9}'), "contents": Raw(b"[]")}
    lower_output_limit(fields, 5)
    assert msgspec.json.encode(fields) == b'{"contents":[],"generationConfig":{"temperature":1.0,"maxOutputTokens":5}}'


def test_settings_go_over_or_under_those_that_stand() -> None:
    over, under = fields_of(generationConfig={"topK": 1}), fields_of(generationConfig={"topK": 1})
    put_settings(over, {"topK": 2, "seed": 3})
    put_settings(under, {"topK": 2, "seed": 3}, under=True)
    assert msgspec.json.decode(over["generationConfig"]) == {"topK": 2, "seed": 3}
    assert msgspec.json.decode(under["generationConfig"]) == {"topK": 1, "seed": 3}


def test_a_name_is_found_in_either_spelling() -> None:
    assert spelling(fields_of(cached_content="x"), "cachedContent") == "cached_content"
    assert spelling(fields_of(cachedContent="x"), "cachedContent") == "cachedContent"
    assert spelling({}, "cachedContent") is None


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aGFsbG8="}}
FILM = {"file_data": {"mime_type": "video/mp4", "file_uri": "https://f.example"}}


@pytest.mark.parametrize(
    ("contents", "carried"),
    [
        ([{"parts": [{"text": "hi"}]}], None),
        ([{"parts": [{"text": 'say "data"'}]}], None),
        ([{"parts": [IMAGE, FILM, {"text": "x"}]}], Carried(1, 1, 10)),
        ({"parts": IMAGE}, Carried(1, 0, 10)),
        (
            [{"parts": [{"functionResponse": {"name": "f", "response": {}, "parts": [IMAGE, IMAGE]}}]}],
            Carried(2, 0, 20),
        ),
        ([{"parts": [{"inlineData": "what?"}]}, {"data": 1}], Carried(0, 1, 0)),
    ],
)
def test_media_are_counted_and_their_bytes_are_no_text(contents: Any, carried: Carried | None) -> None:
    fields = fields_of(contents=contents)
    assert media_in(msgspec.json.encode(fields), fields) == carried


def test_media_count_however_their_members_are_spelt() -> None:
    body = rb'{"contents":[{"parts":[{"fileD\u0061t\u0061":{"mimeType":"video/mp4","fileUri":"https://films.example/1"}}]}]}'
    assert media_in(body, msgspec.json.decode(body, type=dict[str, Raw])) == Carried(others=1)


def test_what_was_cached_may_be_a_whole_window() -> None:
    fields = fields_of(contents=[], cachedContent="cachedContents/1")
    assert media_in(b"", fields) == Carried(0, 1, 0)


def test_only_what_others_signed_is_taken_out() -> None:
    foreign, sealed = wire_signature("x", maker="anthropic_messages"), wire_signature("", "sealed")
    contents = [
        {"role": "user", "parts": [{"text": "hi"}]},
        {
            "role": "model",
            "parts": [
                {"text": "why", "thought": True, "thoughtSignature": foreign},
                {"text": "", "thoughtSignature": sealed},
                {"text": "kept", "thought_signature": foreign},
                {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"},
            ],
        },
        {"role": "model", "parts": [{"text": "", "thoughtSignature": sealed}]},
    ]
    left = msgspec.json.decode(without_foreign_thought(Raw(msgspec.json.encode(contents)), "gemini-2.5-pro"))
    assert left == [
        contents[0],
        {"role": "model", "parts": [{"text": "kept"}, {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}]},
    ]


@pytest.mark.parametrize(
    "raw", [b'[{"parts":[{"thoughtSignature":"c2ln"}]}]', b'"dG9sbHdheS"', b'[{"parts":"dG9sbHdheS"}]']
)
def test_what_holds_nothing_foreign_keeps_its_bytes(raw: bytes) -> None:
    given = Raw(raw)
    assert without_foreign_thought(given, "gemini-3-pro") is given


@pytest.mark.parametrize(
    ("model", "signed"), [("gemini-2.5-pro", {}), ("gemini-3-pro", {"thoughtSignature": UNSIGNED_CALL})]
)
def test_a_call_that_another_model_made_gets_the_word_for_no_signature_where_one_is_wanted(
    model: str, signed: dict[str, str]
) -> None:
    packed = pack_thought([Reasoning("why", "x", maker="anthropic_messages")])
    contents = [{"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": packed}]}]
    (content,) = msgspec.json.decode(without_foreign_thought(Raw(msgspec.json.encode(contents)), model))
    assert content["parts"] == [{"functionCall": {"name": "f"}, **signed}]
