"""Who may spend what of the budgets that workers and hosts share, and how what a lost host had leased comes free again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin.border import office_of, spent_dollars
from tollway.admin.entities import noted
from tollway.errors import NotFound


async def holders(request: Request) -> list[dict[str, Any]]:
    """The workers that have leases, the oldest first, with the host they run on and what they may still spend."""
    found = await office_of(request).storage.leases.holders()
    return [
        {
            "worker": str(holder.epoch),  # 60 bits: more than a JSON number keeps
            "host": holder.host,
            "leases": holder.leases,
            "outstanding": spent_dollars(holder.outstanding_nano),
        }
        for holder in found
    ]


class Release(BaseModel):
    model_config = ConfigDict(extra="forbid")

    worker: str


async def release(request: Request, body: Release) -> dict[str, Any]:
    """Frees what a worker had leased. For one that is gone for good with its journal: a living one would spend it all the
    same.
    """
    leases = office_of(request).storage.leases
    holder = next((one for one in await leases.holders() if str(one.epoch) == body.worker), None)
    if holder is None:
        raise NotFound(f"No worker {body.worker!r} has leases.", param="worker")
    await leases.end(holder.epoch)
    await noted(request, "released", "tollway_leases", body.worker, {"outstanding_nano": holder.outstanding_nano}, None)
    return {"released": spent_dollars(holder.outstanding_nano)}
