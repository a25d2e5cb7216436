from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from nacl.secret import SecretBox

from tollway.calls import Secret
from tollway.cli.moving.litellm_secrets import CannotOpen, LiteLLMSecrets


def sealed(value: str, key: str = "sk-salt") -> bytes:
    return SecretBox(sha256(key.encode()).digest()).encrypt(value.encode())


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_both_alphabets_are_opened(encode: Any) -> None:
    values = {"api_key": encode(sealed("sk-provider")).decode(), "rpm": 5, "nested": [encode(sealed("in")).decode()]}
    assert LiteLLMSecrets(Secret("sk-salt")).opened(values) == {"api_key": "sk-provider", "rpm": 5, "nested": ["in"]}


def test_a_text_that_cannot_have_been_encrypted_stays() -> None:
    values = {"model": "openai/gpt-4o", "api_base": "https://example.com/v1", "word": "abcd", "on": True, "none": None}
    assert LiteLLMSecrets(Secret("sk-salt")).opened(values) == values


def test_another_key_opens_nothing_and_the_field_is_named() -> None:
    with pytest.raises(CannotOpen, match="api_key"):
        LiteLLMSecrets(Secret("sk-other")).opened({"api_key": b64encode(sealed("sk-provider")).decode()})
