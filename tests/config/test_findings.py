from __future__ import annotations

import pytest

from tollway.config.findings import Findings, Place, looks_secret, nearest


def test_problems_come_in_the_order_of_files_and_lines_and_each_once() -> None:
    findings = Findings()
    findings.problem(Place("b.yaml", 9), "late")
    findings.problem(Place("a.yaml", 1), "elsewhere")
    findings.problem(Place("b.yaml", 2), "early")
    findings.problem(Place("b.yaml", 9), "late")
    assert findings.problems() == ["b.yaml:2: early", "b.yaml:9: late", "a.yaml:1: elsewhere"]


def test_the_nearest_name_is_found_if_there_is_one() -> None:
    assert nearest("mastr_key", {"master_key", "model"}) == "master_key"
    assert nearest("xyz", {"master_key", "model"}) is None
    assert nearest("mode", {"model"}, likeness_min=0.95) is None


@pytest.mark.parametrize(
    "name",
    ["api_key", "master_key", "aws_secret_access_key", "client_secret", "token", "hf_token", "password", "Authorization",
     "vertex_credentials", "Cookie", "database_url", "OPENAI_API_KEY", "private_key"],
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "input_cost_per_token", "key_alias", "rpm", "model", "output_tokens_floor", "litellm_key_header_name",
     "cache_read_input_token_cost", "api_base"],
)  # fmt: skip
def test_names_of_numbers_and_addresses_are_not_secret(name: str) -> None:
    assert not looks_secret(name)
