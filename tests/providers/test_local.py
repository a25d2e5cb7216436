from __future__ import annotations

from typing import Any

import pytest

from tollway.providers import OPERATIONS, MissingSetting, registry


@pytest.mark.parametrize("base", ["http://127.0.0.1:40123", "http://127.0.0.1:40123/v1"])
def test_address_and_token_come_from_the_running_child(base: str, wire: Any) -> None:
    out = wire(registry.find("local"), api_base=base, api_key="token")
    assert out.url == "http://127.0.0.1:40123/v1/chat/completions"
    assert out.headers == {"authorization": "Bearer token"}


def test_it_can_chat_and_nothing_else() -> None:
    provider: Any = registry.find("local")
    assert [o for o in OPERATIONS if provider.path(o, "m")] == ["chat"]


def test_without_a_running_child_there_is_no_address(entry: Any) -> None:
    provider: Any = registry.find("local")
    with pytest.raises(MissingSetting):
        provider.base_url(entry(), {})
