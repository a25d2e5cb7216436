from __future__ import annotations

import secrets

import pytest

from tollway.config import is_weak_master_key

# fmt: off
PUBLIC = [
    "", "sk-", "sk-1234", "sk-12345", "sk-123456", "sk-12345678", "sk-1234567890", "SK-1234", " sk-1234 ", "1234", "sk-litellm",
    "sk-litellm-master-key", "sk-litellm-key", "your-litellm-key", "votre-clé-litellm", "sk-clé-litellm", "change-me",
    "sk-change-me", "CHANGEME", "sk-your-master-key-here", "sk-replace-this-with-your-secret-key", "sk-test", "sk-admin-1234",
    "password123", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "sk-00000000000000000000", "sk-abcdefgh", "sk-abcabcabcabc", "sk-...",
    "sk-qwertyuiop", "sk-87654321", "sk-abc1234", "sk-1234-litellm-proxy-master-key", "tollway", "sk-<your-key>",
]
# fmt: on


@pytest.mark.parametrize("key", PUBLIC)
def test_keys_of_manuals_are_weak(key: str) -> None:
    assert is_weak_master_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "sk-8f3k29dkeoslq0",
        "sk-litellm-8f3k29dkeoslq0",
        "correct-horse-battery-staple",
        "b7d1c5a09e3f4421",
        "sk-Zx9!kL2pQ7w",
    ],
)
def test_keys_that_one_must_guess_are_not(key: str) -> None:
    assert not is_weak_master_key(key)


def test_a_random_key_is_practically_never_weak() -> None:
    assert not any(is_weak_master_key("sk-" + secrets.token_urlsafe(16)) for _ in range(500))
