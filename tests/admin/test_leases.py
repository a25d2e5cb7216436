from __future__ import annotations

from tollway.storage import LeaseWant

from .conftest import Asking
from .office import FakeOffice


async def test_what_a_lost_host_had_leased_is_shown_and_released(ask: Asking, office: FakeOffice) -> None:
    want = LeaseWant(
        scope="team", id="t", period_start_us=0, limit_nano=10**9, granted_nano=0, least_nano=10**8, more_nano=10**8
    )
    await office.storage.leases.begin(1 << 59, "host-a")
    await office.storage.leases.lease(1 << 59, [want], workers=1)
    row = {"worker": str(1 << 59), "host": "host-a", "leases": 1, "outstanding": 0.1}
    assert (await ask.get("/tollway/leases")).json() == [row]
    assert (await ask.post("/tollway/leases/release", {"worker": "7"})).status_code == 404
    assert (await ask.post("/tollway/leases/release", {"epoch": "7"})).status_code == 422
    assert (await ask.post("/tollway/leases/release", {"worker": str(1 << 59)})).json() == {"released": 0.1}
    assert (await ask.get("/tollway/leases")).json() == []
    assert (await ask.get("/tollway/leases", key=None)).status_code == 401
