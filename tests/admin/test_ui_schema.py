"""The OpenAPI document against the program: what it says of answers is true of answers, and no path is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.json import decode

from tollway.admin import schema
from tollway.testing.gateway import MASTER_KEY, SmallGateway

from .conftest import Asking

QUESTIONS = {
    "GET /key/list": ("/key/list", {"return_full_object": "true"}),
    "GET /model/info": ("/model/info", {}),
    "GET /v1/model/info": ("/v1/model/info", {}),
    "GET /health": ("/health", {}),
    "GET /ui/api/session": ("/ui/api/session", {}),
    "GET /ui/api/overview": ("/ui/api/overview", {}),
    "GET /ui/api/logs": ("/ui/api/logs", {}),
    "GET /ui/api/playground": ("/ui/api/playground", {}),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_an_answer_is_what_the_schema_says(ask: Asking, name: str) -> None:
    await ask.made(key_alias="ada", max_budget=1, tpm_limit=5)
    path, query = QUESTIONS[name]
    answer = await ask.get(path, **query)
    assert answer.status_code == 200
    msgspec.json.decode(answer.content, type=schema.ANSWERS[name])


@pytest.mark.parametrize("path", ["/key/generate", "/key/regenerate"])
async def test_a_made_key_is_what_the_schema_says(ask: Asking, path: str) -> None:
    made = await ask.made()
    answer = await ask.post(path, {"key": made["key"]} if path != "/key/generate" else {})
    found = msgspec.json.decode(answer.content, type=schema.MadeKey)
    assert found.key.startswith("sk-")


async def test_every_path_of_the_data_plane_is_in_the_schema(gateway: SmallGateway) -> None:
    answer = await gateway.ask(path="/openapi.json", method="GET", key=MASTER_KEY)
    document: dict[str, Any] = decode(answer.body)
    assert gateway.app.dispatch is not None
    paths = gateway.app.dispatch.paths()
    assert "/v1/chat/completions" in paths
    for path in paths:
        (content, *_) = document["paths"][path]["post"]["requestBody"]["content"].values()
        assert "model" in document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]["properties"]


async def test_every_reference_of_the_schema_leads_somewhere(gateway: SmallGateway) -> None:
    document = decode((await gateway.ask(path="/openapi.json", method="GET")).body)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    found = references(document)
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_an_operation_that_nobody_described_still_has_its_path(tmp_path: Path) -> None:
    from fastapi import FastAPI

    document = schema.document(FastAPI(title="t", version="1"), {"/v1/brand-new": "brand_new"})
    assert document["paths"]["/v1/brand-new"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ModelRequest"
    }
