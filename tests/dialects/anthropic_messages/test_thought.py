from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.dialects import label_sealed
from tollway.dialects.anthropic_messages import without_foreign_thought

OWN = {"type": "thinking", "thinking": "hm", "signature": "EqoB"}
TEXT = {"type": "text", "text": 'Say "gemini:" aloud.'}
FOREIGN = [
    {"type": "thinking", "thinking": "", "signature": label_sealed("gemini", "call_1", "c2ln")},
    {"type": "redacted_thinking", "data": label_sealed("openai_responses", "rs_1", "gAAA")},
]


def messages(*blocks: Any, tight: bool = True) -> Raw:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": list(blocks)}]
    return Raw(json.dumps(said, separators=(",", ":") if tight else None).encode())


@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_others_signed_or_sealed_does_not_go_to_anthropic(foreign: dict[str, str], tight: bool) -> None:
    kept = without_foreign_thought(messages(OWN, foreign, TEXT, tight=tight))
    assert json.loads(bytes(kept))[1]["content"] == [OWN, TEXT]


def test_what_it_signed_itself_keeps_its_bytes() -> None:
    given = messages(OWN, TEXT)
    assert without_foreign_thought(given) is given


def test_a_turn_of_nothing_else_is_not_left_empty() -> None:
    kept = without_foreign_thought(messages(FOREIGN[0]))
    assert json.loads(bytes(kept))[1]["content"] == [{"type": "text", "text": "(thought)"}]


def test_what_is_no_list_of_messages_is_left_to_the_provider() -> None:
    given = Raw(b'[7,{"signature":"gemini:"}]')
    assert without_foreign_thought(given) is given
