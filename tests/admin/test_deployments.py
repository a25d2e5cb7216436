"""What deployments are doing, which providers there are, how the gateway is, and models that are tried before they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, RoutingSettings
from tollway.ledger.record import AttemptRecord
from tollway.providers import registry
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry
from tollway.testing.upstream import FakeReply

from .conftest import Asking
from .office import FakeOffice
from .test_people import Manager
from .test_ui_log import keep, record

SALT = Secret("a-salt-that-nobody-else-knows")
registry.providers()  # a gateway reads their file before it serves


async def test_a_deployment_that_rests_in_one_worker_is_told_with_that_worker(ask: Asking) -> None:
    (shown,) = (await ask.get("/tollway/deployments")).json()["deployments"]
    assert (shown["state"], shown["place"], shown["fallbacks"]) == ("resting", "config.yaml:3", ["claude"])
    assert shown["workers"][1] == {
        "worker": 1,
        "at": "1970-01-01T00:00:01Z",
        "resting_until": "1970-01-01T00:00:09Z",
        "failures": 4,
        "last_ok": None,
        "last_error": "too many",
    }


async def test_a_deployment_is_let_out_by_hand_and_that_is_written_down(ask: Asking, office: FakeOffice) -> None:
    assert (await ask.post("/tollway/deployments/release", {"model_id": "d1"})).json() == {"released": "d1"}
    assert office.released == ["d1"]
    assert (await ask.post("/tollway/deployments/release", {"model_id": "none"})).status_code == 404
    (entry,) = (await ask.get("/audit")).json()["audit_logs"]
    assert (entry["action"], entry["object_id"]) == ("released", "d1")


async def test_times_are_those_of_each_deployments_own_attempts(ask: Asking, office: FakeOffice) -> None:
    failed = AttemptRecord("d2", "azure", 503, 1_000_000, 0)
    then = AttemptRecord("d1", "openai", 200, 50_000, 3_000)
    first = record(1, deployment_id="d1", streamed=True)
    second = record(2, deployment_id="d1", attempts=(failed, then))
    await keep(
        office,
        first,
        replace(second, ended_us=second.started_us + 1_400_000),
        record(3, deployment_id="d2", status_code=429, error_message="Slower"),
        record(4, status_code=401),  # reached nobody
    )
    told = (await ask.get("/tollway/deployments/timings")).json()
    one, two = told["deployments"]
    assert (told["calls"], one["model_id"], one["calls"], one["failed"]) == (4, "d1", 2, 0)
    assert (one["p50_ms"], one["p95_ms"], one["first_byte_p50_ms"]) == (400.0, 400.0, 100.0)
    assert (two["calls"], two["failed"], two["p50_ms"], two["last_error"]) == (2, 2, None, "Slower")
    assert two["last_error_at"] == "2026-11-21T12:00:03Z"


async def test_every_provider_says_what_it_wants_and_what_it_has(office: FakeOffice) -> None:
    office.config = Config(environment={"OPENAI_API_KEY": Secret("x")})
    ask = Asking(office)
    told = {one["name"]: one for one in (await ask.get("/tollway/providers")).json()["providers"]}
    await ask.client.aclose()
    assert len(told) > 100
    key, base = told["openai"]["fields"]
    assert (key["name"], key["secret"], key["required"], key["set_by"]) == ("api_key", True, False, "OPENAI_API_KEY")
    assert (base["name"], base["required"]) == ("api_base", False)
    assert next(one for one in told["anthropic"]["fields"] if one["name"] == "api_key")["required"]
    assert next(one for one in told["openai_like"]["fields"] if one["name"] == "api_base")["required"]
    secret = {one["name"]: one["secret"] for one in told["bedrock"]["fields"]}
    assert (secret["aws_secret_access_key"], secret["aws_region_name"]) == (True, False)
    assert "local" not in told
    assert not any(name.endswith("_endpoint") for one in told.values() for name in (f["name"] for f in one["fields"]))


async def test_the_state_tells_of_storage_and_journal(ask: Asking, office: FakeOffice) -> None:
    told = (await ask.get("/tollway/state")).json()
    assert (told["storage"]["kind"], told["storage"]["where"]) == ("SQLite", "/nonexistent/tollway.db")
    assert told["journal"]["rows_written"] - told["journal"]["rows_stored"] == 1
    assert (told["exporters"], told["leases"]) == (["console"], [])
    office.storage.break_down()
    told = (await ask.get("/tollway/state")).json()
    assert (told["storage"]["answers_ms"], told["storage"]["error"]) == (None, "The storage is away.")


@pytest.mark.parametrize(
    "path", ["POST /health/test_connection", "POST /tollway/deployments/release", "GET /tollway/state"]
)
async def test_a_plain_key_learns_and_tries_nothing(ask: Asking, path: str) -> None:
    key = (await ask.made())["key"]
    method, _, at = path.partition(" ")
    answer = await (ask.get(at, key) if method == "GET" else ask.post(at, {"litellm_params": {}}, key))
    assert answer.status_code == 401


# --- in front of a whole gateway


def config(**routing: Any) -> Config:
    return Config(
        access=AccessSettings(master_key=Secret(MASTER_KEY), salt_key=SALT), routing=RoutingSettings(**routing)
    )


def refused(status: int, message: str) -> FakeReply:
    return FakeReply.json({"error": {"message": message}}, status=status)


UNSAVED = {
    "model": "openai/gpt-4o-mini",
    "api_base": "http://elsewhere.example/v1",
    "api_key": "sk-typed-0123456789",
    "input_cost_per_token": "0.000001",
    "output_cost_per_token": "0.000002",
}


async def test_a_model_is_tried_before_it_is_saved_and_what_it_cost_is_written_down(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=config()) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        manage = Manager(gateway)
        told = await manage("POST /health/test_connection", {"litellm_params": UNSAVED})
        assert told["status"] == "success"
        result = told["result"]
        assert (result["prompt_tokens"], result["completion_tokens"]) == (10, 250)
        assert result["response_cost"] == 10 * 1e-6 + 250 * 2e-6
        sent = gateway.upstream.requests[-1]
        assert (sent.origin.host, sent.headers["authorization"]) == (
            "elsewhere.example",
            "Bearer sk-typed-0123456789",
        )
        (written,) = await gateway.records()
        assert (written.cost.total, written.user_agent) == (510_000, "tollway health check")
        assert await manage.call(MASTER_KEY, model="openai/gpt-4o-mini") == 400  # it was not saved


async def test_what_the_provider_says_against_it_is_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=config()) as gateway:
        gateway.upstream.reply_to(None, refused(401, "Incorrect API key provided"))
        told = await Manager(gateway)("POST /health/test_connection", {"litellm_params": UNSAVED})
        assert told["status"] == "error"
        assert told["result"]["error"] == "Incorrect API key provided"
        assert told["result"]["exception_status"] == 401
        assert len(gateway.upstream.requests) == 1  # nothing is tried twice, nowhere else


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "has no model"),
        ({"model": "openai/*"}, "without a star"),
        ({"model": "nobodys/model"}, "nobodys"),
        ({"model": "openai/whisper-1"}, "cannot be tried from here"),
        ({"model": "openai/gpt-4o", "api_base": "http://169.254.169.254/v1", "api_key": "x"}, "link-local"),
        ({"model": "openai/gpt-4o", "api_base": "http://elsewhere.example/v1"}, "needs an api_key of its own"),
        ({"model": "openai/gpt-4o", "ssl_verify": "/etc/passwd"}, "names a file"),
    ],
)
async def test_what_could_not_be_served_is_not_tried(tmp_path: Path, params: dict[str, Any], said: str) -> None:
    async with SmallGateway(tmp_path, config=config()) as gateway:
        answer = await Manager(gateway).asked("POST /health/test_connection", {"litellm_params": params})
        assert answer.status == 400
        assert said in answer.json()["error"]["message"]
        assert gateway.upstream.requests == []


async def test_a_saved_model_is_tried_with_its_own_key_and_the_changes(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [model_entry(id="filed")], config=config()) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        manage = Manager(gateway)
        await manage("POST /model/new", {"model_name": "m", "litellm_params": UNSAVED, "model_info": {"id": "stored"}})
        changed = {"litellm_params": {"api_base": "http://third.example/v1"}, "model_info": {"id": "stored"}}
        assert (await manage("POST /health/test_connection", changed))["status"] == "success"
        sent = gateway.upstream.requests[-1]
        assert (sent.origin.host, sent.headers["authorization"]) == ("third.example", "Bearer sk-typed-0123456789")
        told = await manage("GET /tollway/deployments/stored")
        assert (told["litellm_params"]["api_base"], told["litellm_params"]["api_key"]) == (
            UNSAVED["api_base"],
            "*****",
        )
        assert (await manage("POST /health/test_connection", {"model_info": {"id": "filed"}}))["status"] == "success"
        await manage("POST /health/test_connection", {"model_info": {"id": "none"}}, status=404)


async def test_a_deployment_in_force_is_tried_without_its_fallbacks_and_while_it_rests(tmp_path: Path) -> None:
    entries = [model_entry(id="one"), model_entry(id="two", model_name="spare")]
    async with SmallGateway(tmp_path, entries, config=config(fallbacks={MODEL: ("spare",)})) as gateway:
        manage = Manager(gateway)
        gateway.upstream.reply_to(None, refused(429, "Slower"), chat_reply())
        assert await manage.call(MASTER_KEY) == 200  # by its fallback
        shown = {one["model_id"]: one for one in (await manage("GET /tollway/deployments"))["deployments"]}
        assert (shown["one"]["state"], shown["two"]["state"]) == ("resting", "ready")
        assert shown["one"]["workers"][0]["last_error"]
        gateway.upstream.reply_to(None, refused(500, "Broken"))
        told = await manage("POST /health/test_connection", {"model_info": {"id": "one"}})
        assert (told["status"], told["result"]["exception_status"]) == ("error", 500)
        await manage("POST /tollway/deployments/release", {"model_id": "one"})
        (one, _) = (await manage("GET /tollway/deployments"))["deployments"]
        assert one["state"] == "ready"


async def test_what_came_through_the_api_stands_in_the_configuration_as_such(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=config()) as gateway:
        manage = Manager(gateway)
        await manage("POST /model/new", {"model_name": "m", "litellm_params": {**UNSAVED, "rpm": 5}})
        (stored,) = (await manage("GET /config/effective"))["stored_models"]
        assert stored["rpm"] == {"value": 5, "source": "API"}
        assert stored["api_key"] == {"value": "***", "source": "API"}
        assert stored["tpm"] == {"value": None, "source": "default"}
