from __future__ import annotations

from typing import Any

import pytest

from tollway.app import bare_binder
from tollway.config.settings import Config, ModelEntry
from tollway.pricing.catalog import Catalog
from tollway.providers import OPERATIONS, MissingSetting, registry


@pytest.mark.parametrize("base", ["http://127.0.0.1:40123", "http://127.0.0.1:40123/v1"])
def test_address_and_token_come_from_the_running_child(base: str, wire: Any) -> None:
    out = wire(registry.find("local"), api_base=base, api_key="token")
    assert out.url == "http://127.0.0.1:40123/v1/chat/completions"
    assert out.headers == {"authorization": "Bearer token"}


def test_it_can_chat_go_on_with_a_text_and_rank_and_nothing_else() -> None:
    provider: Any = registry.find("local")
    assert [o for o in OPERATIONS if provider.path(o, "m")] == ["chat", "rerank"]
    assert provider.dialects("m") == ("openai_chat", "openai_completions")


def test_without_a_running_child_there_is_no_address(entry: Any) -> None:
    provider: Any = registry.find("local")
    with pytest.raises(MissingSetting):
        provider.base_url(entry(), {})


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("smollm2", "its model is not here: run `tollway models pull smollm2`"),
        ("/models/own.gguf", "its model does not run here"),
    ],
)
def test_what_is_to_be_done_for_a_model_that_does_not_run_is_said_as_a_person_would(model: str, said: str) -> None:
    binder = bare_binder(Config(), Catalog({}, as_of="2026-11-22"))
    deployment = binder.bind(ModelEntry(model_name="m", provider_model=f"local/{model}"), "m", f"local/{model}")
    assert str(deployment.missing) == said
