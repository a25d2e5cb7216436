"""Secrets that are stored: sealed with a key that is not in the storage.

AES-256-GCM by the package `cryptography` (the extra `secrets`), its key made of the salt key by HKDF-SHA256. What is sealed is
bound to its kind and name: a row that is moved to another place cannot be opened there.

    version (1 byte, 1) | nonce (12 bytes, random) | ciphertext and tag
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import MsgspecError, msgpack

from tollway.calls import Secret
from tollway.errors import StorageError, Unavailable

_VERSION = b"\x01"
_NONCE_BYTES = 12
_PURPOSE = b"tollway: values sealed in storage, 1"


class SealBroken(StorageError):
    """What is stored was sealed with another key, or changed, or moved."""


class Sealer:
    """Raises Unavailable where the package is not installed."""

    def __init__(self, salt_key: Secret) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise Unavailable(
                "Secrets are stored encrypted by the package `cryptography`, which is not installed:"
                " pip install 'tollway[secrets]'."
            ) from error
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(salt_key.reveal().encode())
        self._cipher = AESGCM(key)

    def seal(self, kind: str, name: str, values: dict[str, Any]) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, msgpack.encode(values), _place(kind, name))

    def open(self, kind: str, name: str, sealed: bytes) -> dict[str, Any]:
        """Raises SealBroken."""
        from cryptography.exceptions import InvalidTag

        nonce = sealed[1 : 1 + _NONCE_BYTES]
        try:
            if sealed[:1] != _VERSION:
                raise SealBroken(f"What is sealed in {kind} {name!r} was sealed by a newer version.")
            return msgpack.decode(
                self._cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], _place(kind, name)), type=dict[str, Any]
            )
        except (InvalidTag, ValueError, MsgspecError) as error:
            raise SealBroken(
                f"What is sealed in {kind} {name!r} cannot be opened: LITELLM_SALT_KEY is another one than it was, or the"
                " storage was changed."
            ) from error


def _place(kind: str, name: str) -> bytes:
    return f"{kind}\0{name}".encode()
