from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config import Config, load, single_model
from tollway.config.settings import Alias, ModelEntry
from tollway.errors import ConfigError

#: The page that people come with, as it stands there.
PAGE = """
model_list:
  - model_name: claude-opus-4-6
    litellm_params:
      model: claude-opus-4-6
      api_key: os.environ/ANTHROPIC_API_KEY

  - model_name: gpt-4o
    litellm_params:
      model: gpt-4o
      api_key: os.environ/OPENAI_API_KEY
"""


def test_the_page_that_people_come_with_is_read_without_a_word(read: Any) -> None:
    config = read(PAGE, {"ANTHROPIC_API_KEY": "sk-ant", "OPENAI_API_KEY": "sk-oai", "LITELLM_MASTER_KEY": "sk-m"})
    assert config.models == (
        ModelEntry("claude-opus-4-6", "claude-opus-4-6", api_key=Secret("sk-ant"), place="config.yaml:3"),
        ModelEntry("gpt-4o", "gpt-4o", api_key=Secret("sk-oai"), place="config.yaml:8"),
    )
    assert config.access.master_key == Secret("sk-m")
    assert config.warnings == ()
    assert config.environment == {"ANTHROPIC_API_KEY": Secret("sk-ant"), "OPENAI_API_KEY": Secret("sk-oai")}
    assert config.sources["models[0].api_key"] == "config.yaml:6 (environment ANTHROPIC_API_KEY)"
    assert config.sources["access.master_key"] == "environment LITELLM_MASTER_KEY"


def test_a_provider_key_that_is_not_set_is_as_if_it_were_not_written(read: Any) -> None:
    config = read(PAGE, provider_variables=frozenset({"ANTHROPIC_API_KEY", "OPENAI_API_KEY"}))
    assert [entry.api_key for entry in config.models] == [None, None]
    assert config.warnings == ()


def test_without_a_file_the_environment_alone_counts() -> None:
    config = load(None, environ={"LITELLM_MASTER_KEY": "sk-m", "JSON_LOGS": "true"})
    assert config.models == ()
    assert config.config_path is None
    assert (config.access.master_key, config.logs.json) == (Secret("sk-m"), True)


def test_an_empty_file_is_a_configuration(read: Any, directory: Path) -> None:
    config = read("")
    assert config == Config(config_path=str(directory / "config.yaml"), files=(str(directory / "config.yaml"),))


def test_a_file_that_is_not_there_is_a_problem() -> None:
    with pytest.raises(ConfigError) as refused:
        load("nowhere.yaml", environ={})
    assert refused.value.problems == ["nowhere.yaml: No such file or directory"]


def test_all_problems_are_told_at_once_in_the_order_of_their_lines(problems: Any) -> None:
    found = problems(
        """\
        general_settings:
          mastr_key: sk-do-not-show-this
          database_url: mysql://user:do-not-show-this@host/db
        model_list:
          - model_name: gpt-4o
            litellm_params:
              model: openai/gpt-4o
              rpm: 100
          - model_name: gpt-4o
            litellm_params:
              model: azure/gpt-4o
              rpm: many
              api_key: [do-not-show-this]
        router_settings:
          fallbacks: [{gpt-4o: [gpt-4o-mini]}]
        """
    )
    assert found == [
        "config.yaml:2: general_settings.mastr_key is not known; did you mean master_key?",
        "config.yaml:3: general_settings.database_url should begin with postgresql:// or sqlite:///",
        "config.yaml:12: model_list[1].litellm_params.rpm should be a whole number, got 'many'",
        "config.yaml:13: model_list[1].litellm_params.api_key should be text, got a list",
        (
            "config.yaml:15: router_settings.fallbacks[0].gpt-4o[0] names the model 'gpt-4o-mini', which no entry of "
            "model_list serves; did you mean gpt-4o?"
        ),
    ]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("fallbacks: [{gpt-4: [claude]}]", ("fallbacks[0] names the model 'gpt-4', which no entry of model_list serves; "
         "did you mean gpt-4o?")),
        ("fallbacks: [{'*': [cheap]}]", "fallbacks[0].*[0] names the model 'cheap', which no entry of model_list serves"),
        ("default_fallbacks: [claud]", ("default_fallbacks[0] names the model 'claud', which no entry of model_list "
         "serves; did you mean claude?")),
        ("context_window_fallbacks: [{claude: [big]}]", ("context_window_fallbacks[0].claude[0] names the model 'big', "
         "which no entry of model_list serves")),
        ("model_group_alias: {old: gpt-4}", ("model_group_alias.old names the model 'gpt-4', which no entry of model_list "
         "serves; did you mean gpt-4o?")),
        ("model_group_alias: {old: {model: nope, hidden: true}}", ("model_group_alias.old.model names the model 'nope', "
         "which no entry of model_list serves")),
    ],
)  # fmt: skip
def test_a_fallback_or_alias_that_nobody_serves_is_a_problem(problems: Any, setting: str, problem: str) -> None:
    models = """
model_list:
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o}}
  - {model_name: claude, litellm_params: {model: anthropic/claude}}
router_settings:
"""
    assert problems(f"{models}  {setting}") == [f"config.yaml:6: router_settings.{problem}"]


def test_fallbacks_may_name_wildcards_ids_aliases_and_provider_models(read: Any) -> None:
    config = read(
        """
        model_list:
          - {model_name: gpt-4o, litellm_params: {model: azure/eu}, model_info: {id: east}}
          - {model_name: "openai/*", litellm_params: {model: "openai/*"}}
        router_settings:
          model_group_alias: {gpt-4: gpt-4o}
          fallbacks: [{gpt-4o: [openai/gpt-5, east, azure/eu, gpt-4]}, {"openai/*": [gpt-4o]}, {"*": [gpt-4o]}]
        """
    )
    assert config.routing.fallbacks == {
        "gpt-4o": ("openai/gpt-5", "east", "azure/eu", "gpt-4"),
        "openai/*": ("gpt-4o",),
        "*": ("gpt-4o",),
    }
    assert config.routing.aliases == {"gpt-4": Alias("gpt-4o")}


def test_a_broken_entry_does_not_make_its_fallbacks_look_wrong(problems: Any) -> None:
    found = problems(
        """\
        model_list:
          - {model_name: a, litellm_params: {model: a, rpm: x}}
          - {model_name: b, litellm_params: {}}
        litellm_settings: {fallbacks: [{a: [b]}]}
        """
    )
    assert found == [
        "config.yaml:2: model_list[0].litellm_params.rpm should be a whole number, got 'x'",
        "config.yaml:3: model_list[1].litellm_params has no model",
    ]


def test_the_command_line_wins_over_files_and_files_over_the_environment(read: Any) -> None:
    text = "litellm_settings: {json_logs: false, request_timeout: 10}"
    config = read(text, {"JSON_LOGS": "true", "LITELLM_LOG": "error"}, overrides={"routing.timeout_s": 5.0})
    assert (config.logs.json, config.logs.level, config.routing.timeout_s) == (False, "ERROR", 5.0)
    assert config.sources == {
        "logs.json": "config.yaml:1",
        "logs.level": "environment LITELLM_LOG",
        "routing.timeout_s": "command line",
    }


def test_an_override_of_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Config has no field 'logs\.colour'"):
        load(None, environ={}, overrides={"logs.colour": True})


def test_only_what_providers_may_need_of_the_environment_is_kept() -> None:
    environ = {
        "AWS_REGION": "eu",
        "X_API_KEY": "k",
        "X_API_BASE": "b",
        "X_BASE_URL": "u",
        "SECRET": "s",
        "E_API_KEY": "",
    }
    config = load(None, environ=environ, provider_variables=frozenset({"AWS_REGION", "AWS_PROFILE"}))
    assert {name: value.reveal() for name, value in config.environment.items()} == {
        "AWS_REGION": "eu",
        "X_API_KEY": "k",
        "X_API_BASE": "b",
        "X_BASE_URL": "u",
    }


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLWAY_MASTER_KEY", "sk-mine")
    assert load(None).access.master_key == Secret("sk-mine")


def test_one_model_needs_no_file() -> None:
    config = single_model("claude-opus-4-6", environ={"ANTHROPIC_API_KEY": "k", "LITELLM_MASTER_KEY": "sk-m"})
    assert config.models == (ModelEntry("claude-opus-4-6", "claude-opus-4-6", place="--model"),)
    assert config.single_model == "claude-opus-4-6"
    assert config.access.master_key == Secret("sk-m")
    assert config.environment == {"ANTHROPIC_API_KEY": Secret("k")}


def test_one_model_takes_all_flags() -> None:
    config = single_model(
        "openai/llama",
        environ={},
        alias="llama",
        api_base="http://127.0.0.1:8080/v1",
        api_version="2024-05-01",
        headers='{"x-team": "search"}',
        drop_params=True,
        temperature=0.2,
        max_tokens=99,
        request_timeout=12.5,
        max_budget=0.1,
        overrides={"logs.level": "DEBUG"},
    )
    (entry,) = config.models
    assert entry == ModelEntry(
        "llama",
        "openai/llama",
        api_base="http://127.0.0.1:8080/v1",
        api_version="2024-05-01",
        extra_headers={"x-team": "search"},
        defaults={"temperature": 0.2, "max_tokens": 99},
        place="--model",
    )
    assert config.single_model == "llama"
    assert (config.params.drop_params, config.routing.timeout_s, config.logs.level) == (True, 12.5, "DEBUG")
    assert config.money.max_budget_usd == "0.1"
    assert config.sources["money.max_budget_usd"] == "command line"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"model": ""}, "--model should not be empty, got ''"),
        ({"api_base": "localhost:80"}, ("--api_base should be an address that begins with http:// or https://, "
         "got 'localhost:80'")),
        ({"headers": "x-team: search"}, '--headers should be JSON, with text for each header: {"x-team": "search"}'),
        ({"headers": {"x-team": "a\r\nb: c"}}, "--headers.x-team should be an HTTP header on one line"),
        ({"request_timeout": 0}, "--request_timeout should be a number above 0, got '0'"),
        ({"max_budget": "-1"}, "--max_budget should be a number, 0 or more, got '-1'"),
        ({"max_tokens": 0}, "--max_tokens should be a whole number, 1 or more, got '0'"),
    ],
)  # fmt: skip
def test_a_flag_that_cannot_be_obeyed_is_refused(flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        single_model(**{"model": "gpt-4o", "environ": {}, **flags})
    assert refused.value.problems == [f"command line: {problem}"]


def test_importing_the_room_loads_neither_yaml_nor_pydantic() -> None:
    seen = "import sys, tollway.config; print([m for m in ('yaml', 'pydantic', 'asyncio') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", seen], text=True).strip() == "[]"
