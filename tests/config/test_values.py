from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Secret
from tollway.config.findings import Findings, Place
from tollway.config.nodes import Node
from tollway.config.reading import load
from tollway.config.sections import SECTIONS
from tollway.config.values import NOT_GIVEN, Given, decimal_text, plain, secret_or_plain, whole_number
from tollway.errors import ConfigError


def scalar(text: str, path: str = "a.b", content: Any = None) -> Given:
    return Given(Node(text if content is None else content, text, Place("c.yaml", 1)), path, Findings())


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=20))
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    for written in (str(value), f"{value:e}", format(value, "f")):
        assert Decimal(decimal_text(scalar(written))) == value


@pytest.mark.parametrize(
    "written", ["1:30", "0x10", "1,5", "1e", "", ".", "_1", "nan", "1e9999", "1e-99", "--1", "1 000", "٣"]
)
def test_what_is_no_plain_number_is_no_decimal(written: str) -> None:
    given = scalar(written)
    assert given.read(decimal_text) is NOT_GIVEN
    assert given.findings.problems() == [f"c.yaml:1: a.b should be a number, 0 or more, got {written!r}"]


def test_a_long_value_is_shown_in_part() -> None:
    given = scalar("x" * 500)
    given.read(whole_number(0))
    assert given.findings.problems() == [f"c.yaml:1: a.b should be a whole number, got {'x' * 60!r}"]


@pytest.mark.parametrize(
    "path", ["a.api_key", "a.api_keys[3]", "a.extra_headers.x-a", "environment_variables.X", "a.Password"]
)
def test_what_may_be_secret_is_not_shown(path: str) -> None:
    given = scalar("hidden", path)
    given.read(whole_number(0))
    assert given.findings.problems() == [f"c.yaml:1: {path} should be a whole number"]


def test_secrets_are_wrapped_by_their_name() -> None:
    assert scalar("x", "a.client_secret").read(secret_or_plain) == Secret("x")
    assert scalar("x", "a.region").read(secret_or_plain) == "x"
    assert scalar("12", "a.region", 12).read(plain) == 12


KEYS = sorted(
    {key for table, _ in SECTIONS.values() for key in table} | {"model_name", "litellm_params", "model", "<<"}
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KEYS))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
)


def problems_of(path: str) -> list[str]:
    try:
        load(path, environ={})
    except ConfigError as error:
        return error.problems
    return []


FILES = st.dictionaries(
    st.sampled_from([*SECTIONS, "model_list", "environment_variables", "include"]),
    st.one_of(VALUES, st.lists(VALUES, max_size=2), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)),
)


@given(FILES)
def test_any_file_is_read_or_refused_and_nothing_else_goes_wrong(tmp_path_factory: Any, tree: dict[str, Any]) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    problems = problems_of(str(path))
    assert all(problem.startswith(str(path)) for problem in problems)


@given(VALUES, st.sampled_from(["api_key", "master_key", "database_url", "OPENAI_API_KEY"]))
def test_a_secret_never_gets_into_a_message(tmp_path_factory: Any, value: Any, key: str) -> None:
    import yaml

    marker = "s3cr3t-marker"
    for held in (marker, [marker, value], {"x": marker, "y": value}):
        tree = {
            "model_list": [{"model_name": value, "litellm_params": {"model": "m", key: held, "rpm": value}, key: held}],
            "general_settings": {key: held, "public_routes": value},
            "environment_variables": {key: held},
            "router_settings": {"fallbacks": value, key: held},
        }
        path = tmp_path_factory.getbasetemp() / "secret.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        try:
            said = str(load(str(path), environ={}).warnings)
        except ConfigError as error:
            said = str(error)
        assert marker not in said
