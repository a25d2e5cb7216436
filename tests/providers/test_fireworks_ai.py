from __future__ import annotations

import pytest

from tollway.providers.fireworks_ai import rename


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("llama-v3p1-8b-instruct", "accounts/fireworks/models/llama-v3p1-8b-instruct"),
        ("accounts/fireworks/models/llama", "accounts/fireworks/models/llama"),
        ("accounts/me/deployedModels/x", "accounts/me/deployedModels/x"),
        ("nomic-ai/nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v1.5"),
    ],
)
def test_a_bare_name_is_one_of_fireworks_own_models(written: str, name: str) -> None:
    assert rename(written) == name
    assert rename(name) == name
