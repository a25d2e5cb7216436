"""What LiteLLM stored encrypted: values of models and credentials, each by itself.

A value is the base64 (either alphabet) of NaCl's secret box, its nonce in front; the key is the SHA-256 of LITELLM_SALT_KEY, or
of the master key where there was none. (litellm/proxy/common_utils/encrypt_decrypt_utils.py, 2026-11-22)
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import Any

from tollway.calls import Secret
from tollway.errors import Unavailable

NONCE_BYTES = 24
TAG_BYTES = 16


class CannotOpen(ValueError):
    """A value that was encrypted with another key."""


class LiteLLMSecrets:
    """Raises Unavailable where the package `pynacl` is not installed."""

    def __init__(self, key: Secret) -> None:
        try:
            from nacl.secret import SecretBox
        except ImportError as error:
            raise Unavailable(
                "Models and credentials in LiteLLM's database are encrypted; the package `pynacl` opens them:"
                " pip install 'tollway[import]'."
            ) from error
        self._box = SecretBox(sha256(key.reveal().encode()).digest())

    def opened(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values in the clear. Numbers and switches were never encrypted, nor is a text that cannot have been. Raises
        CannotOpen.
        """
        return {name: self._open(name, value) for name, value in values.items()}

    def _open(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self.opened(value)
        if isinstance(value, list):
            return [self._open(name, one) for one in value]
        if not isinstance(value, str):
            return value
        sealed = _bytes_of(value)
        if sealed is None:
            return value
        from nacl.exceptions import CryptoError

        try:
            return self._box.decrypt(sealed).decode()
        except (CryptoError, UnicodeDecodeError):
            raise CannotOpen(name) from None


def _bytes_of(value: str) -> bytes | None:
    """What a text would be as a secret box; None where it is none."""
    try:
        sealed = base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return sealed if len(sealed) >= NONCE_BYTES + TAG_BYTES else None
