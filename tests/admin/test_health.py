from __future__ import annotations

from datetime import UTC, datetime

from tollway.admin import ConfigRefused, RateLimits

from .conftest import Asking
from .office import FakeOffice


async def test_it_says_that_it_is_alive_and_ready(ask: Asking, office: FakeOffice) -> None:
    for path in ("/health/liveliness", "/health/liveness"):
        answer = await ask.get(path, key=None)
        assert (answer.status_code, answer.json()) == (200, "I'm alive!")
    answer = await ask.get("/health/readiness", key=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "db": "connected"})
    office.storage.break_down()
    answer = await ask.get("/health/readiness", key=None)
    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy", "db": "Not connected"})


async def test_health_says_which_deployments_answered(ask: Asking) -> None:
    answer = await ask.get("/health")
    assert answer.json() == {
        "healthy_endpoints": [{"api_base": "http://127.0.0.1:1/v1", "model": "openai/gpt-4o", "model_id": "d1"}],
        "unhealthy_endpoints": [
            {"api_base": "", "model": "azure/x", "model_id": "d2", "error": "timed out", "exception_status": 408}
        ],
        "healthy_count": 1,
        "unhealthy_count": 1,
    }
    assert (await ask.get("/health", model_id="d1")).json()["unhealthy_count"] == 0


async def test_a_test_event_for_what_is_not_there_is_refused_by_its_name(ask: Asking, office: FakeOffice) -> None:
    office.exporters = ("console",)
    for service, word in (("slack", "'slack' is not there"), ("console", "'console' takes no test event")):
        answer = await ask.get("/health/services", service=service)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (422, "service", "422")
        assert word in error["message"]
        assert "console" in error["message"]
    assert (await ask.get("/health/services")).status_code == 422
    assert (await ask.get("/health/services", key=None, service="slack")).status_code == 401


async def test_a_configuration_that_was_refused_and_limits_that_are_not_shared_are_told(
    ask: Asking, office: FakeOffice
) -> None:
    office.rate_limits = RateLimits(state="shared", through="Redis at 10.0.0.5:6379", processes=8)
    assert (await ask.get("/health/readiness", key=None)).json() == {
        "status": "healthy",
        "db": "connected",
        "rate_limits": "shared",
    }
    assert (await ask.get("/health")).json()["rate_limits"] == {
        "state": "shared",
        "through": "Redis at 10.0.0.5:6379",
        "processes": 8,
    }
    at = datetime(2026, 11, 22, 7, tzinfo=UTC)
    office.rate_limits = RateLimits(
        state="local", through="Redis at 10.0.0.5:6379", processes=8, since=at, why="ConnectionError: refused"
    )
    office.config_refused = ConfigRefused(("config.yaml:3: model_lst is not known",), at)
    office.settings_waiting = ("storage.database_url",)
    ready = await ask.get("/health/readiness", key=None)
    assert ready.status_code == 200
    assert (ready.json()["rate_limits"], ready.json()["config"]) == ("local", "refused")
    told = (await ask.get("/health")).json()
    assert told["rate_limits"]["since"] == "2026-11-22T07:00:00+00:00"
    assert told["rate_limits"]["why"] == "ConnectionError: refused"
    assert told["config"] == {
        "refused_at": "2026-11-22T07:00:00+00:00",
        "problems": ["config.yaml:3: model_lst is not known"],
    }
    shown = (await ask.get("/config/effective")).json()
    assert shown["refused"]["problems"] == ["config.yaml:3: model_lst is not known"]
    assert shown["waiting_for_start"] == ["storage.database_url"]
    assert shown["routing"]["retries"]["value"] == 2
