"""Users who are signed in to the dashboard, as callers: without a key, held to all that a key of theirs would be held to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from msgspec import json

from tollway.errors import Forbidden
from tollway.snapshot import Caller, Key
from tollway.storage import KeyRecord
from tollway.storage.people import People

KEY_NAME = "dashboard"
#: Users, each in each of his teams, whose accounts stay while they make no call; the one who called longest ago goes first.
SEEN_MAX = 10_000
SEEN_S_MAX = 3_600.0

#: `tollway.callers.Callers.unkept_key`.
Bind = Callable[[KeyRecord], Key]


class SignedIn:
    """Who called without a key, and in which team. Lives as long as the gateway."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._seen: dict[tuple[str, str], float] = {}

    def caller(self, people: People, bind: Bind, user_id: str, team_id: str) -> Caller:
        """The user, in one of his teams where `team_id` is not "". Raises Forbidden. About 20 us."""
        key = _key(people, bind, user_id, team_id)
        self._seen.pop((user_id, team_id), None)
        if len(self._seen) >= SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[user_id, team_id] = self._wall()
        return Caller("key", key)

    def keep(self, people: People, bind: Bind) -> None:
        """Binds those who called lately once more, so that a new snapshot does not let their accounts go."""
        for (user_id, team_id), at in list(self._seen.items()):
            if self._wall() - at > SEEN_S_MAX:
                del self._seen[user_id, team_id]
                continue
            with suppress(Forbidden):  # whoever is gone is let go
                _key(people, bind, user_id, team_id)


def _key(people: People, bind: Bind, user_id: str, team_id: str) -> Key:
    user = people.users.get(user_id)
    if user is None:
        raise Forbidden("There is no such user any more.", param="user_id")
    if team_id:
        team = people.teams.get(team_id)
        if team is None or team.member(user_id) is None:
            raise Forbidden(f"You are no member of the team {team_id!r}.", param="team_id")
    record = KeyRecord(
        token=sha256(b"dashboard\0" + json.encode([user_id, team_id])).digest(),
        key_name=KEY_NAME,
        key_alias=f"dashboard:{user.email or user_id}",
        user_id=user_id,
        team_id=team_id or None,
    )
    return bind(record)
