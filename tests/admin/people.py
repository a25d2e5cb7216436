"""Browsers in front of workers of their own, and the gateway's users who sit before them."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from httpx import ASGITransport, AsyncClient, Response

from tollway.admin import build

from .office import MASTER_KEY, FakeOffice

OWN = {"origin": "http://gateway"}
MASTER = {"authorization": f"Bearer {MASTER_KEY}"}
PASSWORD = "correct horse battery"


class Browser:
    """Keeps cookies, and shows the session's token as the page does."""

    def __init__(self, office: FakeOffice, address: str = "127.0.0.1") -> None:
        transport = ASGITransport(build(office), client=(address, 5000))
        self.client = AsyncClient(transport=transport, base_url="http://gateway")

    async def sign_in(self, user: str | None = None, password: str = PASSWORD) -> Response:
        return await self.client.post("/ui/api/session", json={"user": user, "password": password}, headers=OWN)

    async def session(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.client.get("/ui/api/session")).json()
        return told

    async def get(self, path: str, **query: Any) -> Response:
        return await self.client.get(path, params=query or None)

    async def send(self, method: str, path: str, body: Any = None) -> Response:
        """As the dashboard's own page asks."""
        headers = {**OWN, "x-tollway-csrf": (await self.session()).get("csrf", "")}
        return await self.client.request(method, path, json=body, headers=headers)

    async def post(self, path: str, body: Any = None) -> Response:
        return await self.send("POST", path, body)


_BUILT: WeakKeyDictionary[FakeOffice, Any] = WeakKeyDictionary()


async def manage(office: FakeOffice, path: str, body: Any, *, status: int = 200) -> dict[str, Any]:
    """What the master key asks, of another worker than the browsers'."""
    if office not in _BUILT:
        _BUILT[office] = build(office)
    transport = ASGITransport(_BUILT[office])
    async with AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.post(path, json=body, headers=MASTER)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def new_user(office: FakeOffice, user_id: str, role: str | None = None, **more: Any) -> dict[str, Any]:
    fields = {"user_id": user_id, "user_role": role, "password": PASSWORD, "auto_create_key": False, **more}
    return await manage(office, "/user/new", {name: value for name, value in fields.items() if value is not None})
