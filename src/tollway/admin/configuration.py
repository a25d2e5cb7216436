"""What is configured, and where each value came from."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from starlette.requests import Request

from tollway.admin.border import office_of
from tollway.config import Config, effective
from tollway.config.settings import ModelEntry


async def show(request: Request) -> dict[str, Any]:
    """Every setting in force with its source: file and line, environment, command line, or "API" for what is set by models that
    came that way. Beside it what is not in force: a configuration that was refused, and settings that wait for a start. Secrets
    are masked.
    """
    office = office_of(request)
    stored = await office.stored_models()
    written = effective(replace(office.config, models=tuple(stored), sources={}))["models"]
    shown = {**effective(office.config), "stored_models": [_from_api(fields) for fields in written]}
    if (refused := office.config_refused) is not None:
        shown["refused"] = {"at": refused.at.isoformat(), "problems": list(refused.problems)}
    if office.settings_waiting:
        shown["waiting_for_start"] = list(office.settings_waiting)
    return shown


def _from_api(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {**field, "source": "default" if field["value"] == _UNSAID[name]["value"] else "API"}
        for name, field in fields.items()
    }


_UNSAID = effective(Config(models=(ModelEntry("", ""),)))["models"][0]
