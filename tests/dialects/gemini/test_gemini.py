from __future__ import annotations

from tollway.dialects import gemini, openai_chat


def test_the_dialect_has_the_names_that_every_chat_dialect_has() -> None:
    assert sorted(gemini.__all__) == sorted(openai_chat.__all__)
    assert all(hasattr(gemini, name) for name in gemini.__all__)
    assert gemini.NAME == "gemini"
