"""From flags to the configuration they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tollway.calls import Secret
from tollway.cli.flags import Flags, read_config, with_master_key
from tollway.cli.refusal import Refused
from tollway.config.settings import AccessSettings, Config
from tollway.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text("model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o}\n")
    return str(path)


def test_one_model_takes_what_was_typed_for_it() -> None:
    config = read_config(
        Flags(
            model="openai/gpt-4o",
            alias="mine",
            api_base="http://127.0.0.1:9/v1",
            api_version="2",
            headers='{"x-team": "search"}',
            temperature=0.5,
            max_tokens=7,
        )
    )
    (entry,) = config.models
    assert (entry.model_name, entry.provider_model, config.single_model) == ("mine", "openai/gpt-4o", "mine")
    assert (entry.api_base, entry.api_version) == ("http://127.0.0.1:9/v1", "2")
    assert entry.extra_headers == {"x-team": "search"}
    assert entry.defaults == {"temperature": 0.5, "max_tokens": 7}


@pytest.mark.parametrize("with_file", [True, False])
def test_what_was_typed_for_the_gateway_lies_over_file_and_model(file: str, with_file: bool) -> None:
    flags = Flags(
        model=None if with_file else "gpt-4o",
        config=file if with_file else None,
        request_timeout_s=9.0,
        max_budget_usd="2.50",
        drop_params=True,
        debug=True,
        json_logs=True,
    )
    config = read_config(flags)
    assert config.routing.timeout_s == 9.0
    assert config.money.max_budget_usd == "2.50"
    assert config.params.drop_params is True
    assert (config.logs.level, config.logs.json) == ("INFO", True)


def test_detailed_debug_wins_over_debug() -> None:
    assert read_config(Flags(debug=True, detailed_debug=True)).logs.level == "DEBUG"


def test_variables_that_only_one_provider_knows_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "t")
    assert read_config(Flags(model="claude-opus-4-6")).environment["ANTHROPIC_AUTH_TOKEN"] == Secret("t")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (Flags(model="a", config="b"), "exclude each other"),
        (Flags(config="c", temperature=0.0), "--temperature goes with --model"),
        (Flags(alias="a"), "--alias goes with --model"),
        (Flags(ssl_keyfile_path="k"), "needed together"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: Flags, part: str) -> None:
    with pytest.raises(Refused, match=part) as refused:
        read_config(flags)
    assert refused.value.exit_code == 2


def test_headers_that_are_no_json_are_refused() -> None:
    with pytest.raises(ConfigError, match="--headers should be JSON"):
        read_config(Flags(model="gpt-4o", headers="x-team: search"))


def test_a_master_key_of_the_configuration_is_never_replaced() -> None:
    own = Config(access=AccessSettings(master_key=Secret("own")))
    assert with_master_key(own, "made") is own
    assert with_master_key(Config(), None) == Config()
    access = with_master_key(Config(), "made").access
    assert (access.master_key, access.master_key_made) == (Secret("made"), True)


def test_where_to_listen_is_what_was_typed_else_what_the_file_says_else_the_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("tollway: {host: 127.0.0.2, port: 8080}\n")
    listen = read_config(Flags(config=str(file))).listen
    assert (listen.host, listen.port) == ("127.0.0.2", 8080)
    typed = read_config(Flags(config=str(file), host="127.0.0.3", port=0)).listen
    assert (typed.host, typed.port) == ("127.0.0.3", 0)
    listen = read_config(Flags(model="gpt-4o")).listen
    assert (listen.host, listen.port) == (None, 4000)
