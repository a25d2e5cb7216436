"""People's passwords: Argon2id, as OWASP asks for it (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html,
2026-11-22): 19 MiB, two passes, one lane; some 25 ms of a core. Functions here compute: call them in a thread.

argon2-cffi is loaded when the first password is made or compared.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tollway.admin.border import bad_request

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MEMORY_KIB = 19_456
PASSES = 2
PASSWORD_CHARACTERS_MIN = 8
#: More would only be work for whoever hashes it.
PASSWORD_CHARACTERS_MAX = 1_000


def checked_password(password: str, param: str = "password") -> str:
    """Raises BadRequest for one that is too short to keep anybody out, or too long."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise bad_request(f"A password has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters.", param)
    return password


def hash_of(password: str) -> str:
    return _hasher().hash(_bytes(password))


def is_right(hashed: str | None, password: str) -> bool:
    """Whether a password is the one of this hash. None, a user who has none, takes as long and is never right."""
    from argon2.exceptions import InvalidHashError, VerificationError

    nobodys = _nobodys()
    try:
        _hasher().verify(hashed if hashed is not None else nobodys, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False
    return hashed is not None


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)


@cache
def _nobodys() -> str:
    """The hash of a password that nobody has."""
    import secrets

    return hash_of(secrets.token_urlsafe(32))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
