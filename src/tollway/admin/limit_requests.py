"""What may be asked of budgets and rates, in LiteLLM's fields, and the Limits that they come to; and back.

Shared by everybody who has limits. A field that the gateway does not obey is refused as soon as it is set to something.
The names were taken from LiteLLM Proxy 1.106.2 (2026-11-21).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar

from msgspec import structs
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from tollway.admin.border import bad_request, dollars_of, iso_z, nano_of, us_of
from tollway.config.durations import Duration, next_reset, parse_duration
from tollway.config.settings import MoneySettings
from tollway.errors import Rejection
from tollway.storage.people import Limits, Window

LIMIT_MAX = 1 << 53
_RATES = {"rpm_limit": "rpm", "tpm_limit": "tpm", "max_parallel_requests": "parallel_max"}
_MONEY = {"max_budget": "max_budget_nano", "soft_budget": "soft_budget_nano"}
_BY_MODEL = {"model_rpm_limit": "model_rpm", "model_tpm_limit": "model_tpm"}
#: Every field that says something of limits.
LIMIT_FIELDS = (*_MONEY, "budget_duration", *_RATES, *_BY_MODEL, "budget_limits", "model_max_budget")


def dollars(value: Any) -> Any:
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            raise PydanticCustomError(
                "float_parsing", "Input should be a valid number, unable to parse string as a number"
            ) from None
    raise PydanticCustomError("float_type", "Input should be a valid number")


Dollars = Annotated[Any, BeforeValidator(dollars)]


class Asked(BaseModel):
    """A body whose fields are all obeyed. `NOT_OBEYED` are LiteLLM's others, refused when they are set to something."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    NOT_OBEYED: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_would_have_no_effect(cls, given: Any) -> Any:
        """LiteLLM ignores fields that it does not know; a limit that is misspelt would be none."""
        for name, value in given.items() if isinstance(given, dict) else ():
            if name in cls.model_fields:
                continue
            if name in cls.NOT_OBEYED:
                if not says_nothing(value):
                    raise bad_request(
                        f"{name} is not supported by this gateway yet; leave it out. Nothing was changed.", str(name)
                    )
            elif nearest := get_close_matches(str(name), cls.model_fields, 1, 0.8):
                raise bad_request(
                    f"The field {str(name)!r} is not known; did you mean {nearest[0]!r}?", param=str(name)
                )
        return given

    def given(self) -> dict[str, Any]:
        """The fields that were written, `null` included."""
        return {name: getattr(self, name) for name in self.model_fields_set if name in type(self).model_fields}


class WithLimits(Asked):
    max_budget: Dollars = None
    soft_budget: Dollars = None
    budget_duration: str | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    max_parallel_requests: int | None = None
    model_max_budget: dict[str, Any] | None = None


class WithAllLimits(WithLimits):
    budget_limits: list[dict[str, Any]] | None = None
    model_rpm_limit: dict[str, int] | None = None
    model_tpm_limit: dict[str, int] | None = None


def changed_limits(limits: Limits, fields: dict[str, Any]) -> Limits:
    """The limits after what the fields say of them. Raises BadRequest."""
    changes: dict[str, Any] = {}
    for name, ours in _MONEY.items():
        if name in fields:
            changes[ours] = None if fields[name] is None else nano_of(fields[name], name)
    for name, ours in _RATES.items():
        if name in fields:
            changes[ours] = rate(fields[name], name)
    for name, ours in _BY_MODEL.items():
        if name in fields:
            changes[ours] = {model: rate(value, name) for model, value in (fields[name] or {}).items()}
    if "budget_duration" in fields:
        if fields["budget_duration"] is not None:
            checked_duration(fields["budget_duration"], "budget_duration")
        changes["budget_duration"] = fields["budget_duration"]
    if "budget_limits" in fields:
        changes["windows"] = windows(fields["budget_limits"])
    if "model_max_budget" in fields:
        changes["model_budgets"] = model_budgets(fields["model_max_budget"])
    return structs.replace(limits, **changes) if changes else limits


def with_limits_of_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with the limits by model that stand in `metadata`: LiteLLM's other place for them. Raises BadRequest."""
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        return fields
    found = {name: metadata[name] for name in _BY_MODEL if name in metadata}
    for name, limits in found.items():
        if not isinstance(limits, dict) or not all(type(value) is int for value in limits.values()):
            raise bad_request(f"metadata.{name} says of each model a whole number.", "metadata")
    if not found:
        return fields
    left = {name: value for name, value in metadata.items() if name not in found}
    return {**found, **fields, "metadata": left}


def windows(written: list[dict[str, Any]] | None) -> tuple[Window, ...]:
    """`[{"budget_duration": "1d", "max_budget": 5}]`, no duration twice. Raises BadRequest."""
    found = [_window(one, "budget_limits", ("max_budget",), ("budget_duration",), needed=True) for one in written or ()]
    if len({window.budget_duration for window in found}) < len(found):
        raise bad_request("budget_limits may hold each budget_duration once.", "budget_limits")
    return tuple(found)


def model_budgets(written: dict[str, Any] | None) -> dict[str, Window]:
    """`{"gpt-4o": {"budget_limit": 5, "time_period": "1d"}}`, or with LiteLLM's other words for these two. Raises
    BadRequest.
    """
    return {
        model: _window(
            one, "model_max_budget", ("budget_limit", "max_budget"), ("time_period", "budget_duration"), needed=False
        )
        for model, one in (written or {}).items()
    }


def _window(one: Any, name: str, limits: tuple[str, ...], durations: tuple[str, ...], *, needed: bool) -> Window:
    if not isinstance(one, dict):
        raise bad_request(f"{name} must say {limits[0]} and {durations[0]}. Received: {one!r}", name)
    limit = next((one[field] for field in limits if one.get(field) is not None), None)
    duration = next((one[field] for field in durations if one.get(field) is not None), None)
    if unknown := set(one) - {*limits, *durations, "reset_at"}:
        raise bad_request(f"{name} has a field that is not known: {min(unknown)!r}.", name)
    if limit is None or (duration is None and needed):
        raise bad_request(f"{name} must say {limits[0]} and {durations[0]}.", name)
    if duration is not None:
        checked_duration(str(duration), durations[0])
    try:
        amount = dollars(limit)
    except PydanticCustomError:
        raise bad_request(f"{limits[0]} must be a number. Received: {limit!r}", name) from None
    return Window(nano_of(amount, limits[0]), str(duration) if duration is not None else None)


def rate(value: int | None, name: str) -> int | None:
    if value is not None and not 0 <= value <= LIMIT_MAX:
        raise bad_request(f"{name} must be a whole number from 0 to {LIMIT_MAX}. Received: {value}", name)
    return value


def checked_duration(written: str, name: str) -> Duration:
    try:
        return parse_duration(written)
    except ValueError as error:
        message = f"Invalid {name} '{written}'. Use a format like '1h', '24h', '7d', or '30d'."
        raise Rejection(message, status=400, type="bad_request_error", param=name) from error


def says_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(says_nothing(inner) for inner in value.values())
    return value is None or value is False or value in ("", [])


def plain(value: Any) -> Any:
    """Fractions were read exactly; where they are no money they are stored as what they are in JSON."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


# --- and back


def reset_at(duration: str | None, money: MoneySettings, now: datetime) -> str | None:
    """When a budget of that length starts anew."""
    if duration is None:
        return None
    moment = next_reset(parse_duration(duration), now, timezone=money.timezone, reset_time=money.budget_reset_time)
    return iso_z(us_of(moment))


def shown_windows(limits: Limits, money: MoneySettings, now: datetime) -> list[dict[str, Any]] | None:
    return [
        {
            "budget_duration": window.budget_duration,
            "max_budget": dollars_of(window.max_budget_nano),
            "reset_at": reset_at(window.budget_duration, money, now),
        }
        for window in limits.windows
    ] or None


def shown_model_budgets(limits: Limits) -> dict[str, Any]:
    return {
        model: {"budget_limit": dollars_of(window.max_budget_nano), "time_period": window.budget_duration}
        for model, window in limits.model_budgets.items()
    }
