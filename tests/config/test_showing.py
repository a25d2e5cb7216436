from __future__ import annotations

import json
from typing import Any

from tollway.config import Config, effective, load

CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/eu
      api_key: do-not-show-1
      api_base: https://h.example
      rpm: 5
      input_cost_per_token: 1e-6
      extra_headers: {x-anything: do-not-show-2}
      extra_body: {auth: {token: do-not-show-3}, seed: 1}
      aws_secret_access_key: do-not-show-4
router_settings:
  fallbacks: [{"*": [gpt-4o]}]
  model_group_alias: {gpt-4: {model: gpt-4o, hidden: true}}
general_settings:
  master_key: os.environ/MASTER
  database_url: postgresql://u:do-not-show-5@h/d
environment_variables: {OPENAI_API_KEY: do-not-show-6}
"""


def shown(read: Any) -> dict[str, Any]:
    environ = {"MASTER": "do-not-show-7", "HTTPS_PROXY": "http://u:do-not-show-8@p", "GROQ_API_KEY": "do-not-show-9"}
    return effective(read(CONFIG, environ, provider_parameters=frozenset({"aws_secret_access_key"})))


def test_no_secret_is_shown(read: Any) -> None:
    assert "do-not-show" not in json.dumps(shown(read))


def test_every_setting_has_its_value_and_its_source(read: Any) -> None:
    seen = shown(read)
    assert seen["routing"]["retries"] == {"value": 2, "source": "default"}
    assert seen["routing"]["fallbacks"] == {"value": {"*": ["gpt-4o"]}, "source": "config.yaml:14"}
    assert seen["routing"]["aliases"]["value"] == {"gpt-4": {"model": "gpt-4o", "hidden": True}}
    assert seen["access"]["master_key"] == {"value": "***", "source": "config.yaml:17 (environment MASTER)"}
    assert seen["access"]["key_header_name"] == {"value": None, "source": "default"}
    assert seen["network"]["https_proxy"] == {"value": "***", "source": "environment HTTPS_PROXY"}
    assert seen["environment"] == {
        "GROQ_API_KEY": {"value": "***", "source": "environment"},
        "OPENAI_API_KEY": {"value": "***", "source": "config.yaml:19"},
    }
    (entry,) = seen["models"]
    assert entry["model_name"] == {"value": "gpt-4o", "source": "config.yaml:3"}
    assert entry["api_key"] == {"value": "***", "source": "config.yaml:6"}
    assert entry["rpm"] == {"value": 5, "source": "config.yaml:8"}
    assert entry["prices"] == {
        "value": {"input_cost_per_token": "0.000001"},
        "source": {"input_cost_per_token": "config.yaml:9"},
    }
    assert entry["extra_headers"]["value"] == {"x-anything": "***"}
    assert entry["extra_body"]["value"] == {"auth": {"token": "***"}, "seed": 1}
    assert entry["provider_params"]["value"] == {"aws_secret_access_key": "***"}
    assert entry["tpm"] == {"value": None, "source": "default"}


def test_everything_that_a_config_holds_is_shown(read: Any) -> None:
    assert effective(load(None, environ={})).keys() | {"sources"} == set(Config.__struct_fields__)
