"""Somebody who asks a whole gateway for what is not his: with a key, or signed in with a browser's cookie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tollway.testing.gateway import MASTER_KEY, Answer, SmallGateway

OWN_PAGE = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
PASSWORD = "correct horse battery"
Headers = dict[str, str]


class Outsider:
    def __init__(self, gateway: SmallGateway, master: str = MASTER_KEY) -> None:
        self.gateway = gateway
        self.master = master

    async def ask(
        self,
        route: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Headers | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Answer:
        """`route` is like "POST /key/new"; as the master key's unless a key or headers are given."""
        method, path = route.split(" ")
        return await self.gateway.ask(
            key=(key or self.master) if headers is None else None,
            path=path,
            method=method,
            query="&".join(f"{name}={value}" for name, value in (query or {}).items()).encode(),
            headers=headers or {"content-type": "application/json"},
            body=b"" if body is None else msgspec.json.encode(body),
        )

    async def done(self, route: str, body: Any = None, **asked: Any) -> Any:
        """What is answered to something that works."""
        answer = await self.ask(route, body, **asked)
        assert answer.status == 200, (route, answer.body)
        return answer.json()

    async def new_user(self, user_id: str, role: str | None, **fields: Any) -> str:
        """A user with a password; the answer is a key of his."""
        told = {"user_id": user_id, "password": PASSWORD, **fields}
        made = await self.done("POST /user/new", told if role is None else {**told, "user_role": role})
        return str(made["key"])

    async def sign_in(self, user: str | None = None, password: str = PASSWORD) -> Headers:
        """The headers of a page that somebody is signed in to."""
        answer = await self.ask("POST /ui/api/session", {"user": user, "password": password}, headers=OWN_PAGE)
        assert answer.status == 200, answer.body
        cookie = answer.headers["set-cookie"].partition(";")[0]
        return {**OWN_PAGE, "cookie": cookie, "x-tollway-csrf": answer.json()["csrf"]}

    async def everything(self) -> list[object]:
        """What the storage knows, but for what calls and sign-ins leave there."""
        storage = self.gateway.storage
        people = await storage.people.load()
        records = sorted(await storage.keys.load_all(), key=lambda record: record.token)
        return [people, [msgspec.structs.replace(record, last_active_us=None) for record in records]]
