"""What opens the dashboard: hashes of passwords, and tickets, which are sessions, links and invitations.

Neither a password nor a ticket's text is kept: of a password there is its hash, of a ticket the SHA-256 of its text, so that
who reads the storage cannot sign in. A hash leaves the storage for the one comparison only, and nobody's hash is in `People`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Ticket(Struct, frozen=True, kw_only=True):
    """Lets in who shows its text, until `ends_us`. `kind` says to what; `user_id` is "" for who holds the master key; `detail` is
    its maker's own."""

    digest: bytes  # SHA-256 of the text
    kind: str
    user_id: str
    begun_us: int
    used_us: int
    ends_us: int
    detail: bytes = b""


class SignInStore(Protocol):
    async def password_of(self, user_id: str) -> str | None:
        """The hash of a user's password."""

    async def set_password(self, user_id: str, hashed: str | None, *, now_us: int) -> None:
        """Gives a user another password, or none. Every ticket of the user's ends with the old one, in the same transaction."""

    async def users_with_password(self) -> set[str]: ...

    async def add(self, ticket: Ticket, *, tickets_max: int, idle_us_max: int) -> None:
        """Keeps a new ticket, at its `begun_us`. Of its kind go those whose time is over, those that nobody used for
        `idle_us_max`, and beyond `tickets_max` those that were used longest ago.
        """

    async def get(self, digest: bytes) -> Ticket | None: ...

    async def take(self, digest: bytes) -> Ticket | None:
        """The ticket, which is gone then: of many who take it one gets it."""

    async def touch(self, digest: bytes, used_us: int) -> None:
        """It was used just now."""

    async def end(self, user_ids: Sequence[str]) -> int:
        """Ends every ticket of these users; returns how many there were."""
