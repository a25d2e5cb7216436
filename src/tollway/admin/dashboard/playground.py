"""Calls to models that people make from the dashboard: in a user's name, or as the master key's for who signed in with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query
from msgspec import Struct
from msgspec.json import encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tollway.admin import Office, Principal
from tollway.admin.border import office_of, principal_of
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.entities import people_of
from tollway.admin.roles import may_play
from tollway.downstream.addresses import client_address
from tollway.errors import Forbidden

#: What is asked for, whatever it is asked with.
CHAT_PATH = "/v1/chat/completions"
PLAYGROUND_TAG = "playground"

Team = Annotated[str, Query(max_length=512)]
ForTeam = Annotated[str, Header(alias="x-litellm-team-id", max_length=512)]


class PlayingTeam(Struct, frozen=True, kw_only=True):
    team_id: str
    team_alias: str | None


class Playing(Struct, frozen=True, kw_only=True):
    """`models` are those that may be chatted with."""

    models: list[str]
    teams: list[PlayingTeam]


async def offered(request: Request, team: Team = "") -> Response:
    """The models that whoever asks may chat with, in one of the teams where one is named, and these teams."""
    principal = _player(request)
    people = await people_of(request) if principal.user is not None else None
    teams = [
        PlayingTeam(team_id=one.id, team_alias=one.alias)
        for one in (people.teams.values() if people is not None else ())
        if one.member(principal.user) is not None and not one.blocked
    ]
    shown = Playing(models=await office_of(request).chat_models(principal, team), teams=teams)
    return Response(encode(shown), media_type="application/json", headers=NOT_KEPT)


async def chat(request: Request, team: ForTeam = "") -> Response:
    """A call, tagged `playground`, for the team that the header names. Bodies are bounded like those of the management API."""
    return _Relayed(office_of(request), _player(request), team, await request.body())


def _player(request: Request) -> Principal:
    principal = principal_of(request)
    if not may_play(principal):
        raise Forbidden(
            f"A key calls models at {CHAT_PATH}."
            if principal.kind == "key"
            else "You may look at things, not call models. An administrator can give you another role."
        )
    return principal


class _Relayed(Response):
    """An answer that the data plane gives."""

    def __init__(self, office: Office, principal: Principal, team: str, body: bytes) -> None:
        super().__init__()
        self._office = office
        self._principal = principal
        self._team = team
        self._asked = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"user-agent", b"tollway dashboard"),
            (b"x-litellm-tags", PLAYGROUND_TAG.encode()),
        ]
        address = client_address(scope, forwarded=self._office.config.access.forwarded_for)
        await self._office.call_as(
            self._principal, self._team, CHAT_PATH, headers, self._asked, receive, send, client=(address, 0)
        )
