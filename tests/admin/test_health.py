from __future__ import annotations

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
