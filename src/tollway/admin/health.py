"""Is it there, can it work, and do the providers answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin import DeploymentHealth, Office, Trial
from tollway.admin.border import bad_request, office_of
from tollway.admin.entities import new_id
from tollway.admin.limit_requests import plain
from tollway.errors import Rejection, StorageError
from tollway.storage.people import StoredModel


async def alive() -> str:
    """Answers as long as the process runs."""
    return "I'm alive!"


async def ready(request: Request) -> Response:
    """503 while the storage does not answer. Calls go on without it, but keys cannot be changed. What else is not as it
    should be does not keep calls from being served: it is told beside.
    """
    office = office_of(request)
    beside = {}
    if (limits := office.rate_limits) is not None:
        beside["rate_limits"] = limits.state
    if office.config_refused is not None:
        beside["config"] = "refused"
    try:
        await office.storage.check()
    except StorageError:
        return JSONResponse({"status": "unhealthy", "db": "Not connected", **beside}, 503)
    return JSONResponse({"status": "healthy", "db": "connected", **beside})


async def check(request: Request, model: str | None = None, model_id: str | None = None) -> dict[str, Any]:
    """Makes a real call to every deployment, or to those named."""
    office = office_of(request)
    found = await office.check_deployments(model=model, deployment_id=model_id)
    healthy = [_row(one) for one in found if not one.error]
    unhealthy = [_row(one) for one in found if one.error]
    return {
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": len(healthy),
        "unhealthy_count": len(unhealthy),
        **_about(office),
    }


def _about(office: Office) -> dict[str, Any]:
    """How limits are shared, where they are, and a configuration that was refused."""
    about: dict[str, Any] = {}
    if (limits := office.rate_limits) is not None:
        about["rate_limits"] = {"state": limits.state, "through": limits.through, "processes": limits.processes}
        if limits.since is not None:
            about["rate_limits"] |= {"since": limits.since.isoformat(), "why": limits.why}
    if (refused := office.config_refused) is not None:
        about["config"] = {"refused_at": refused.at.isoformat(), "problems": list(refused.problems)}
    return about


async def services(request: Request, service: Annotated[str, Query(max_length=200)]) -> None:
    """LiteLLM's test event to a callback or an alert. There are none here that one could be sent to: says so, with LiteLLM's
    status for one that is not configured.
    """
    exporters = office_of(request).exporters
    if service in exporters:
        why = f"{service!r} takes no test event: it tells of every call, so make one and look there"
    else:
        why = f"{service!r} is not there: this gateway sends no alerts, and tells calls to nobody but {', '.join(exporters)}"
    raise Rejection(f"{why}. Unable to test this.", status=422, type="bad_request_error", param="service")


class Connection(BaseModel):
    """A model as `/model/new` takes it. `model_info.id` names one that is there: what stands in `litellm_params` is then tried
    over its own settings, if it came through the API; nothing there tries it as it is.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    litellm_params: dict[str, Any] = {}
    model_info: dict[str, Any] | None = None
    mode: str | None = None


async def test_connection(request: Request, body: Connection) -> dict[str, Any]:
    """Makes one very short call with these settings, saved or not, and says what came of it. It is charged like every call."""
    office, info = office_of(request), plain(body.model_info) or {}
    params: dict[str, Any] = plain(body.litellm_params)
    name = info.pop("id", None)
    if name is not None and not params:
        return _told(await office.try_deployment(str(name)))
    known = await office.storage.people.models.get(str(name)) if name is not None else None
    if known is not None:
        merged = {**office.unseal("models", known.id, known.sealed), **params}
        params = {field: value for field, value in merged.items() if value is not None}
        info = {**known.info, **info}
    if not isinstance(params.get("model"), str):
        raise bad_request("litellm_params has no model.", "litellm_params")
    if body.mode is not None:
        info["mode"] = body.mode
    info.pop("db_model", None)
    tried = StoredModel(id=f"trial-{new_id()}", model_name=params["model"], sealed=b"", info=info)
    return _told(await office.try_model(tried, params))


def _told(trial: Trial) -> dict[str, Any]:
    took: dict[str, Any] = {"exception_status": trial.status, "response_time_ms": round(trial.duration_ms, 1)}
    if trial.error:
        return {"status": "error", "result": {"error": trial.error, **took}}
    counted = {"prompt_tokens": trial.input_tokens, "completion_tokens": trial.output_tokens}
    answered = {"answer": trial.answer, "response_cost": trial.cost, **counted, **took}
    return {"status": "success", "result": {**answered, "exception_status": None}}


def _row(one: DeploymentHealth) -> dict[str, Any]:
    row: dict[str, Any] = {"api_base": one.api_base, "model": one.provider_model, "model_id": one.deployment_id}
    if one.error:
        row |= {"error": one.error, "exception_status": one.status}
    return row
