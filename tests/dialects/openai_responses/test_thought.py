from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.dialects import label_sealed, read_sealed
from tollway.dialects.openai_responses.thought import Sealed, seal, unseal, without_foreign_thought

any_text = st.text(st.characters(codec="utf-8"), max_size=20)


@given(any_text, any_text, any_text)
def test_what_was_sealed_comes_out_again(signature: str, redacted: str, call_id: str) -> None:
    sealed = Sealed(signature, redacted, call_id)
    assert unseal(seal(sealed)) == sealed


def test_what_openai_sealed_is_not_ours_to_open() -> None:
    assert unseal("gAAAAABo") is None
    assert unseal("tollway:torn") == Sealed()


@given(st.sampled_from(["openai_responses", "gemini"]), st.text("abc_123", max_size=5), any_text)
def test_a_label_is_read_as_it_was_written(dialect: str, id: str, blob: str) -> None:
    assert read_sealed(label_sealed(dialect, id, blob)) == (dialect, id, blob)


@given(st.text("abcXYZ019+/=_-", max_size=20))
def test_what_carries_no_label_is_nobodys(blob: str) -> None:
    assert read_sealed(blob) == ("", "", blob)


USER = {"role": "user", "content": 'say "rs_tollway_" and "tollway:"'}
OPENAIS = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


@pytest.mark.parametrize(
    "ours",
    [
        {"type": "reasoning", "id": "rs_tollway_x_0", "summary": []},
        {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": seal(Sealed("s"))},
    ],
)
def test_what_was_made_here_for_another_maker_is_taken_out(ours: dict[str, Any]) -> None:
    given = Raw(json.dumps([USER, OPENAIS, ours, USER]).encode())
    assert json.loads(bytes(without_foreign_thought(given))) == [USER, OPENAIS, USER]


@pytest.mark.parametrize(
    "input",
    [b'"rs_tollway_ in a text"', b'[{"role":"user","content":"x"}]', json.dumps([USER, OPENAIS]).encode(), b"[7, \"rs_tollway_\"]"],
)  # fmt: skip
def test_everything_else_stays_as_it_came(input: bytes) -> None:
    given = Raw(input)
    assert without_foreign_thought(given) is given
