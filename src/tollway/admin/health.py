"""Is it there, can it work, and do the providers answer."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from starlette.requests import Request

from tollway.admin import DeploymentHealth
from tollway.admin.border import office_of
from tollway.errors import StorageError


async def alive() -> str:
    """Answers as long as the process runs."""
    return "I'm alive!"


async def ready(request: Request) -> Response:
    """503 while the storage does not answer. Calls go on without it, but keys cannot be changed."""
    try:
        await office_of(request).storage.check()
    except StorageError:
        return JSONResponse({"status": "unhealthy", "db": "Not connected"}, 503)
    return JSONResponse({"status": "healthy", "db": "connected"})


async def check(request: Request, model: str | None = None, model_id: str | None = None) -> dict[str, Any]:
    """Makes a real call to every deployment, or to those named."""
    found = await office_of(request).check_deployments(model=model, deployment_id=model_id)
    healthy = [_row(one) for one in found if not one.error]
    unhealthy = [_row(one) for one in found if one.error]
    return {
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": len(healthy),
        "unhealthy_count": len(unhealthy),
    }


def _row(one: DeploymentHealth) -> dict[str, Any]:
    row: dict[str, Any] = {"api_base": one.api_base, "model": one.provider_model, "model_id": one.deployment_id}
    if one.error:
        row |= {"error": one.error, "exception_status": one.status}
    return row
