from __future__ import annotations

import pytest

from tollway.config import known
from tollway.config.sections import SECTIONS


@pytest.mark.parametrize(
    ("names", "some"),
    [
        (known.TOP_LEVEL, {"model_list", "guardrails", "credential_list"}),
        (known.GENERAL_SETTINGS, {"master_key", "store_model_in_db", "enable_jwt_auth"}),
        (known.LITELLM_SETTINGS, {"callbacks", "success_callback", "cache_params", "drop_params"}),
        (known.ROUTER_SETTINGS, {"routing_strategy_args", "redis_host", "retry_policy"}),
        (known.LITELLM_PARAMS, {"aws_region_name", "vertex_project", "organization"}),
        (known.REQUEST_PARAMS, {"temperature", "max_tokens", "reasoning_effort", "dimensions"}),
        (known.PRICES, {"input_cost_per_token", "cache_read_input_token_cost", "tiered_pricing"}),
    ],
)
def test_the_names_that_people_use_are_known(names: frozenset[str], some: set[str]) -> None:
    assert some <= names


def test_what_we_have_is_known_to_litellm_or_stands_in_our_own_section() -> None:
    for section, (table, names) in SECTIONS.items():
        if section != "tollway":
            assert set(table) <= names, section


def test_no_price_is_also_a_parameter() -> None:
    assert not known.PRICES & (known.REQUEST_PARAMS | known.GENERAL_SETTINGS | known.LITELLM_SETTINGS)
