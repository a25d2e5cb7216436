from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from httpx import Response

from tollway.admin import build
from tollway.admin.application import BODY_BYTES_MAX, ROUTES, Route, access_by_route
from tollway.admin.roles import Access

from .conftest import Asking
from .office import FakeOffice


def test_a_route_that_nobody_declared_stops_the_start() -> None:
    app = build(FakeOffice())
    assert access_by_route(app.routes, ROUTES)
    app.add_api_route("/key/secret", lambda: None)
    with pytest.raises(LookupError, match="/key/secret"):
        access_by_route(app.routes, ROUTES)
    with pytest.raises(LookupError):
        access_by_route(FastAPI().routes, ROUTES)  # its own /docs and /redoc, which load foreign scripts


#: What a path says that was asked for nothing.
ASKS_FOR_MORE = {
    **dict.fromkeys(("/spend/calculate", "/utils/token_counter"), 400),
    **dict.fromkeys(("/utils/transform_request", "/utils/supported_openai_params"), 422),
}
PUBLIC = {"/", "/docs", "/openapi.json", "/health/liveliness", "/health/liveness", "/health/readiness"}


def test_only_a_short_list_of_paths_is_open_to_everybody() -> None:
    assert {route.path for route in ROUTES if route.access is Access.PUBLIC} == PUBLIC


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_lets_in_whom_it_says(ask: Asking, route: Route) -> None:
    path = route.path.replace("{key}", "sk-x").replace("{id}", "1")
    path = path.replace("{name}", "x").replace("{model_id}", "x").replace("{request_id}", "x")

    async def asked(key: str | None) -> Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await ask.client.request(route.method, path, headers=headers)

    answer = await asked(None)
    if route.access is Access.PUBLIC:
        assert answer.status_code == 200
        return
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "message": "Authentication Error, No api key passed in.",
        "type": "auth_error",
        "param": "None",
        "code": "401",
    }
    mine = (await ask.made())["key"]
    answer = await asked(mine)
    if route.access not in (Access.PUBLIC, Access.KEY):
        assert answer.status_code == 401
        assert answer.json()["error"] == {
            "message": "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
            f"keys/users/teams. Route={path}. Your role=unknown. Your user_id=None",
            "type": "auth_error",
            "param": "None",
            "code": "401",
        }
    else:
        assert answer.status_code == ASKS_FOR_MORE.get(path, 200)


async def test_unknown_paths_and_methods_are_answered_as_fastapi_does(ask: Asking) -> None:
    answer = await ask.get("/no/such/path", key=None)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    answer = await ask.get("/key/generate")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert (await ask.get(path)).status_code == 404


async def test_a_body_that_is_not_understood_is_named_without_being_repeated(ask: Asking) -> None:
    answer = await ask.post("/key/generate", {"max_budget": "sk-secret"})
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {
                "type": "float_parsing",
                "loc": ["body", "max_budget"],
                "msg": "Input should be a valid number, unable to parse string as a number",
            }
        ]
    }
    for content in ("{", '{"max_budget": NaN}', '{"spend": Infinity}'):
        assert (await ask.post("/key/generate", content=content)).status_code == 422


async def test_nobody_makes_the_gateway_read_a_body_before_it_is_known_or_without_end(ask: Asking) -> None:
    answer = await ask.post("/key/generate", content="not even JSON", key=None)
    assert answer.status_code == 401
    answer = await ask.post("/key/generate", content=json.dumps({"metadata": {"a": "x" * BODY_BYTES_MAX}}))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "413"


async def test_a_storage_that_is_away_is_503_and_tells_nothing_of_where_it_lies(
    ask: Asking, office: FakeOffice
) -> None:
    office.storage.break_down("The storage '/secret/place.db' failed")
    answer = await ask.post("/key/generate", {})
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "service_unavailable"
    assert "secret" not in answer.text
