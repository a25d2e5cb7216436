"""Which models there are, deployment by deployment and group by group. A key sees its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from tollway.admin import ModelRow
from tollway.admin.border import office_of, principal_of
from tollway.errors import BadRequest

_SUPPORTS = (
    "supports_parallel_function_calling",
    "supports_vision",
    "supports_web_search",
    "supports_url_context",
    "supports_reasoning",
    "supports_function_calling",
    "supports_fast_mode",
)


async def info(request: Request, litellm_model_id: str | None = None) -> dict[str, Any]:
    rows = _rows(request)
    if litellm_model_id is not None:
        rows = [row for row in rows if row.deployment_id == litellm_model_id]
        if not rows:
            raise BadRequest(f"Model id = {litellm_model_id} not found on this gateway.", param="litellm_model_id")
    return {"data": [_info(row) for row in rows]}


async def group_info(request: Request, model_group: str | None = None) -> dict[str, Any]:
    groups: dict[str, list[ModelRow]] = {}
    for row in _rows(request):
        groups.setdefault(row.model_name, []).append(row)
    return {"data": [_group(name, rows) for name, rows in groups.items() if model_group in (None, name)]}


def _rows(request: Request) -> list[ModelRow]:
    return list(office_of(request).models(principal_of(request)))


def _info(row: ModelRow) -> dict[str, Any]:
    params = {name: value for name, value in row.params.items() if name != "api_key"}
    facts = {"key": row.model_name, "litellm_provider": row.provider, "supported_openai_params": [], **row.facts}
    return {
        "model_name": row.model_name,
        "litellm_params": params,
        "model_info": {**facts, "id": row.deployment_id, "db_model": bool(facts.get("db_model"))},
    }


def _group(name: str, rows: Sequence[ModelRow]) -> dict[str, Any]:
    """What a group can do is what one of its deployments can; its limits and prices are the largest, as LiteLLM shows
    them.
    """
    facts = [row.facts for row in rows]
    return {
        "model_group": name,
        "providers": sorted({row.provider for row in rows}),
        "max_input_tokens": _largest(facts, "max_input_tokens"),
        "max_output_tokens": _largest(facts, "max_output_tokens"),
        "input_cost_per_token": _largest(facts, "input_cost_per_token"),
        "output_cost_per_token": _largest(facts, "output_cost_per_token"),
        "input_cost_per_pixel": _largest(facts, "input_cost_per_pixel"),
        "mode": next((fact["mode"] for fact in facts if fact.get("mode")), "chat"),
        "tpm": _sum(rows, "tpm"),
        "rpm": _sum(rows, "rpm"),
        "itpm": None,
        "otpm": None,
        **{can: any(fact.get(can) for fact in facts) for can in _SUPPORTS},
        "supported_reasoning_efforts": _union(facts, "supported_reasoning_efforts"),
        "supported_openai_params": _union(facts, "supported_openai_params"),
        "configurable_clientside_auth_params": None,
        "is_public_model_group": False,
        "health_status": None,
        "health_response_time": None,
        "health_checked_at": None,
    }


def _largest(facts: Sequence[dict[str, Any]], name: str) -> Any:
    return max((fact[name] for fact in facts if fact.get(name) is not None), default=None)


def _sum(rows: Sequence[ModelRow], name: str) -> int | None:
    limits = [row.params[name] for row in rows if row.params.get(name) is not None]
    return sum(limits) if limits else None


def _union(facts: Sequence[dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(value for fact in facts for value in fact.get(name) or ()))
