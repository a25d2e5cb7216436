"""Models and credentials that are added through the API: in force at once, sealed in storage, shown nowhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.storage.people import AuditFilter
from tollway.storage.sealing import SealBroken, Sealer
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry
from tollway.testing.storage import MemoryStorage

from .test_people import Manager

SALT = Secret("a-salt-that-nobody-else-knows")
NEW = {
    "model_name": "added",
    "litellm_params": {
        "model": "openai/gpt-4o-mini",
        "api_base": "http://added.example/v1",
        "api_key": "sk-db-0123456789",
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
    },
    "model_info": {"id": "m1", "mode": "chat"},
}


def config(salt: Secret | None = SALT) -> Config:
    return Config(access=AccessSettings(master_key=Secret(MASTER_KEY), salt_key=salt))


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with SmallGateway(tmp_path, [model_entry(id="filed")], config=config()) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


def params(**changes: Any) -> dict[str, Any]:
    return {**NEW, "litellm_params": {**NEW["litellm_params"], **changes}}  # type: ignore[dict-item]


async def test_a_model_serves_when_the_answer_that_made_it_is_sent_and_no_longer_when_it_is_deleted(
    manage: Manager,
) -> None:
    made = await manage("POST /model/new", NEW)
    assert (made["model_id"], made["model_name"], made["created_by"]) == ("m1", "added", "default_user_id")
    assert made["litellm_params"]["api_key"] == "*****"
    assert await manage.call(MASTER_KEY, model="added") == 200
    sent = manage.gateway.upstream.requests[-1]
    assert (sent.origin.host, sent.headers["authorization"]) == ("added.example", "Bearer sk-db-0123456789")
    assert (await manage.gateway.records())[0].cost.total == 10 * 1_000 + 250 * 2_000
    (row,) = (await manage("GET /model/info", litellm_model_id="m1"))["data"]
    assert (row["model_name"], row["model_info"]["db_model"]) == ("added", True)
    changed = await manage("POST /model/update", {"model_info": {"id": "m1"}, "litellm_params": {"rpm": 1}})
    assert (changed["litellm_params"]["rpm"], changed["litellm_params"]["model"]) == (1, "openai/gpt-4o-mini")
    assert [await manage.call(MASTER_KEY, model="added", num_retries=0) for _ in range(2)] == [200, 429]
    await manage("PATCH /model/m1/update", {"model_name": "other", "litellm_params": {"rpm": None}})
    assert [await manage.call(MASTER_KEY, model=name) for name in ("added", "other", MODEL)] == [400, 200, 200]
    assert await manage("POST /model/delete", {"id": "m1"}) == {"message": "Model: m1 deleted successfully"}
    assert await manage.call(MASTER_KEY, model="other") == 400
    await manage("POST /model/delete", {"id": "m1"}, status=404)


async def test_what_is_secret_is_sealed_and_shown_nowhere(manage: Manager) -> None:
    await manage("POST /credentials", {"credential_name": "c", "credential_values": {"api_key": "sk-in-a-credential"}})
    await manage("POST /model/new", params(headers={"x-team": "secret-header"}))
    await manage("POST /model/update", {"model_info": {"id": "m1"}, "litellm_params": {"api_key": "sk-second-012345"}})
    people = await manage.gateway.storage.people.load()
    entries, _ = await manage.gateway.storage.people.audit(AuditFilter(), limit=99)
    answers = [await manage.asked(path) for path in ("GET /model/info", "GET /credentials", "GET /config/effective")]
    everything = json.dumps([str(people), str(entries), *(str(answer.body) for answer in answers)])
    for secret in ("sk-db-0123456789", "sk-second-012345", "sk-in-a-credential", "secret-header"):
        assert secret not in everything
    assert (await manage("GET /credentials"))["credentials"] == [
        {
            "credential_name": "c",
            "display_name": None,
            "credential_info": {},
            "credential_values": {"api_key": "*****"},
            "source": "db",
        }
    ]


async def test_a_credential_is_used_by_the_models_that_name_it(manage: Manager) -> None:
    await manage("POST /credentials", {"credential_name": "c", "credential_values": {"api_key": "sk-one-0123456789"}})
    await manage("POST /credentials", {"credential_name": "c", "credential_values": {}}, status=400)
    named = {name: value for name, value in params()["litellm_params"].items() if name != "api_key"}
    await manage("POST /model/new", {**NEW, "litellm_params": {**named, "litellm_credential_name": "none"}}, status=400)
    await manage("POST /model/new", {**NEW, "litellm_params": {**named, "litellm_credential_name": "c"}})
    for key in ("sk-one-0123456789", "sk-two-0123456789"):
        await manage("PATCH /credentials/c", {"credential_values": {"api_key": key}})
        assert await manage.call(MASTER_KEY, model="added") == 200
        assert manage.gateway.upstream.requests[-1].headers["authorization"] == f"Bearer {key}"
    await manage("PATCH /credentials/c", {"credential_values": {"api_key": None}}, status=400)
    await manage("DELETE /credentials/c", status=400)
    await manage("POST /model/delete", {"id": "m1"})
    await manage("DELETE /credentials/c")
    await manage("GET /credentials/by_name/c", status=404)


async def test_a_variables_name_is_plain_text_here(manage: Manager) -> None:
    await manage("POST /model/new", params(api_key="os.environ/PATH"))
    assert await manage.call(MASTER_KEY, model="added") == 200
    assert manage.gateway.upstream.requests[-1].headers["authorization"] == "Bearer os.environ/PATH"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_base": "http://169.254.169.254/v1"}, "link-local"),
        ({"api_base": "http://[fe80::1]/v1"}, "link-local"),
        ({"api_base": "http://[::ffff:169.254.1.1]/v1"}, "link-local"),
        ({"api_key": None}, "needs an api_key of its own"),
        ({"aws_sts_endpoint": "http://x"}, "for the configuration to say"),
        ({"ssl_verify": "/etc/passwd"}, "only the configuration may"),
        ({"max_bugdet": 5}, "did you mean max_budget"),
        ({"model": "nobody-knows/this"}, "nobody-knows"),
        ({"rpm": -1}, "litellm_params.rpm"),
        ({"litellm_credential_name": "none"}, "does not exist"),
    ],
)
async def test_what_could_not_be_served_or_must_not_be_is_refused_and_not_stored(
    manage: Manager, changes: dict[str, Any], words: str
) -> None:
    answer = await manage("POST /model/new", params(**changes), status=400)
    assert words in answer["error"]["message"]
    await manage("POST /model/new", NEW)
    assert (
        await manage.asked("POST /model/update", {"model_info": {"id": "m1"}, "litellm_params": changes})
    ).status == 400
    assert await manage.call(MASTER_KEY, model="added") == 200


async def test_a_model_of_the_file_is_changed_in_the_file_alone(manage: Manager) -> None:
    for route, body in (
        ("POST /model/update", {"model_info": {"id": "filed"}, "litellm_params": {"rpm": 1}}),
        ("POST /model/delete", {"id": "filed"}),
        ("POST /model/new", {**NEW, "model_info": {"id": "filed"}}),
    ):
        assert (await manage.asked(route, body)).status == 400
    await manage("POST /model/new", NEW)
    await manage("POST /model/new", NEW, status=400)


async def test_without_a_salt_key_nothing_secret_is_taken(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=config(None)) as gateway:
        manage = Manager(gateway)
        for route, body in (
            ("POST /model/new", NEW),
            ("POST /credentials", {"credential_name": "c", "credential_values": {"api_key": "x"}}),
        ):
            assert "LITELLM_SALT_KEY" in (await manage(route, body, status=400))["error"]["message"]


async def test_models_come_back_at_the_next_start_and_one_that_cannot_be_read_keeps_no_other_from_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = MemoryStorage()
    async with SmallGateway(tmp_path, config=config(), storage=storage) as gateway:
        await Manager(gateway)("POST /model/new", NEW)
    for salt, status in ((SALT, 200), (Secret("another"), 400), (None, 400)):
        storage.recover()
        async with SmallGateway(tmp_path, config=config(salt), storage=storage) as gateway:
            gateway.upstream.reply_to(None, chat_reply())
            manage = Manager(gateway)
            assert await manage.call(MASTER_KEY, model="added") == status
            assert await manage.call(MASTER_KEY) == 200
    assert "the stored model added (m1) is left out" in caplog.text
    assert "stored models are left out" in caplog.text


def test_what_is_sealed_opens_with_its_key_in_its_place_and_nowhere_else() -> None:
    sealer = Sealer(SALT)
    sealed = sealer.seal("models", "m1", {"api_key": "sk"})
    assert sealer.open("models", "m1", sealed) == {"api_key": "sk"}
    assert sealer.seal("models", "m1", {"api_key": "sk"}) != sealed
    for other, kind, name, changed in (
        (Sealer(Secret("x")), "models", "m1", sealed),
        (sealer, "models", "m2", sealed),
        (sealer, "credentials", "m1", sealed),
        (sealer, "models", "m1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (sealer, "models", "m1", b"\x02" + sealed[1:]),
        (sealer, "models", "m1", b""),
    ):
        with pytest.raises(SealBroken):
            other.open(kind, name, changed)


async def test_stored_models_survive_a_reload_of_the_file(manage: Manager) -> None:
    await manage("POST /model/new", NEW)
    await manage.gateway.app.reload(replace(manage.gateway.app.config, warnings=("x",)))
    assert await manage.call(MASTER_KEY, model="added") == 200
