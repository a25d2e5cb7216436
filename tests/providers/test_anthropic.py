from __future__ import annotations

from typing import Any

import pytest

from tollway.providers import OPERATIONS, MissingSetting
from tollway.providers.anthropic import Anthropic, betas

ANTHROPIC = Anthropic()


def test_it_speaks_its_own_dialect_and_only_chats() -> None:
    assert ANTHROPIC.dialect == "anthropic_messages"
    assert [o for o in OPERATIONS if ANTHROPIC.path(o, "m")] == ["chat"]
    fields: dict[str, Any] = {"thinking": {}}
    assert ANTHROPIC.adapt(fields) == []
    assert fields == {"thinking": {}}


@pytest.mark.parametrize(
    "base",
    [
        "https://proxy.example",
        "https://proxy.example/",
        "https://proxy.example/v1",
        "https://proxy.example/v1/",
        "https://proxy.example/v1/messages",
    ],
)
def test_an_address_may_end_in_v1_or_not(base: str, wire: Any) -> None:
    assert wire(ANTHROPIC, api_key="k", api_base=base).url == "https://proxy.example/v1/messages"
    assert wire(ANTHROPIC, environment={"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": base}).url == (
        "https://proxy.example/v1/messages"
    )


def test_a_path_before_v1_is_kept(wire: Any) -> None:
    out = wire(ANTHROPIC, api_key="k", api_base="https://res.services.ai.azure.com/anthropic")
    assert out.url == "https://res.services.ai.azure.com/anthropic/v1/messages"


def test_an_api_key_goes_in_its_own_header(wire: Any) -> None:
    out = wire(ANTHROPIC, environment={"ANTHROPIC_API_KEY": "sk-ant-api03-x", "ANTHROPIC_AUTH_TOKEN": "t"})
    assert out.headers == {"x-api-key": "sk-ant-api03-x", "anthropic-version": "2023-06-01"}


def test_an_auth_token_goes_as_a_bearer(wire: Any) -> None:
    out = wire(ANTHROPIC, environment={"ANTHROPIC_AUTH_TOKEN": "t"})
    assert out.headers == {"authorization": "Bearer t", "anthropic-version": "2023-06-01"}


def test_the_entry_s_own_key_is_an_api_key_whatever_the_environment_says(wire: Any) -> None:
    assert wire(ANTHROPIC, api_key="k", environment={"ANTHROPIC_AUTH_TOKEN": "t"}).headers["x-api-key"] == "k"


def test_a_subscription_s_token_goes_as_a_bearer_with_the_flag_that_lets_it_in(wire: Any) -> None:
    out = wire(ANTHROPIC, api_key="sk-ant-oat01-x", extra_headers={"Anthropic-Beta": "context-1m-2025-08-07"})
    assert out.headers == {
        "authorization": "Bearer sk-ant-oat01-x",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "oauth-2025-04-20,context-1m-2025-08-07",
    }


def test_a_missing_key_names_both_variables(entry: Any) -> None:
    with pytest.raises(MissingSetting, match="ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN or api_key"):
        ANTHROPIC.key(entry(), {})


def test_the_version_can_be_set_by_the_entry(wire: Any) -> None:
    out = wire(ANTHROPIC, api_key="k", extra_headers={"anthropic-version": "2030-01-01"})
    assert out.headers["anthropic-version"] == "2030-01-01"


@pytest.mark.parametrize(
    ("wanted", "standing", "value"),
    [
        (["context_1m", "files"], "", "context-1m-2025-08-07,files-api-2025-04-14"),
        (
            ["claude-code-20250219, interleaved-thinking-2025-05-14"],
            "",
            "claude-code-20250219,interleaved-thinking-2025-05-14",
        ),
        (["tomorrow-2031-01-01"], "oauth-2025-04-20", "oauth-2025-04-20,tomorrow-2031-01-01"),
        (["oauth-2025-04-20"], "", ""),
        (["no flag", "x\r\nevil: 1", "", "context-1m"], "", ""),
        (["files", "files-api-2025-04-14"], "files-api-2025-04-14", "files-api-2025-04-14"),
        ([], "", ""),
    ],
)
def test_only_what_has_the_form_of_a_flag_is_passed_on(wanted: list[str], standing: str, value: str) -> None:
    assert betas(wanted, standing=standing) == value
