"""How a call to a provider would go out: its full address and headers."""

from __future__ import annotations

from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import Provider


def entry_of(**settings: Any) -> ModelEntry:
    key = settings.pop("api_key", None)
    return ModelEntry(model_name="m", provider_model="m", api_key=Secret(key) if key else None, **settings)


class Wire:
    """What would go out: the URL of an operation, and the headers as text."""

    def __init__(
        self,
        provider: Provider,
        operation: str = "chat",
        model: str = "m",
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        entry = entry_of(**settings)
        variables = {name: Secret(value) for name, value in (environment or {}).items()}
        bound = provider.at(entry, variables)
        path = bound.path(operation, bound.model_name(model))
        assert path is not None
        self.url = bound.base_url(entry, variables) + path
        key = bound.key(entry, variables)
        lines = [*bound.headers(key, entry), *bound.operation_headers(operation, key, entry)]
        assert all(name == name.lower() for name, _ in lines)
        assert len({name for name, _ in lines}) == len(lines)
        self.headers = {name.decode(): value.decode("latin-1") for name, value in lines}


@pytest.fixture
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def entry() -> Any:
    return entry_of
