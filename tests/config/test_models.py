from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config import known
from tollway.config.models import MODEL_INFO, PARAMS
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError


@pytest.fixture
def entry(read: Any) -> Any:
    """The one entry with these `litellm_params` and `model_info`, and the warnings without their place."""

    def read_entry(params: str, info: str = "{}", environ: Any = None, **others: Any) -> tuple[ModelEntry, list[str]]:
        text = f"model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, {params}}}\n  model_info: {info}\n"
        config = read(text, environ, **others)
        return config.models[0], [warning.partition(": model_list[0].")[2] for warning in config.warnings]

    return read_entry


@pytest.fixture
def mistakes(problems: Any) -> Any:
    """The problems of an entry with these `litellm_params` and `model_info`, without their place."""

    def problems_of(params: str, info: str = "{}") -> list[str]:
        text = f"model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, {params}}}\n  model_info: {info}\n"
        return [problem.partition(": model_list[0].")[2] for problem in problems(text)]

    return problems_of


# fmt: off
FIELDS = [
    ("custom_llm_provider: azure", "provider", "azure"),
    ("api_key: sk-x", "api_key", Secret("sk-x")),
    ("api_key: 12345", "api_key", Secret("12345")),
    ("api_key: ''", "api_key", Secret("")),
    ("api_base: http://127.0.0.1:8080/v1", "api_base", "http://127.0.0.1:8080/v1"),
    ("base_url: https://h.example", "api_base", "https://h.example"),
    ("api_version: 2024-02-01", "api_version", "2024-02-01"),
    ("base_model: gpt-4o", "base_model", "gpt-4o"),
    ("weight: 0.5", "weight", 0.5),
    ("order: 1", "order", 1),
    ("rpm: 100", "rpm", 100),
    ("rpm: '100'", "rpm", 100),
    ("rpm: 100.0", "rpm", 100),
    ("tpm: 1_000", "tpm", 1000),
    ("max_parallel_requests: 3", "parallel_max", 3),
    ("max_budget: 0.5", "max_budget_usd", "0.5"),
    ("budget_duration: 1d", "budget_duration", "1d"),
    ("timeout: 30", "timeout_s", 30.0),
    ("timeout: '30'", "timeout_s", 30.0),
    ("stream_timeout: 0.5", "stream_timeout_s", 0.5),
    ("max_retries: 0", "retries", 0),
    ("num_retries: 4", "retries", 4),
    ("cooldown_time: 9", "cooldown_s", 9.0),
    ("tags: [free, 2]", "tags", ("free", "2")),
    ("drop_params: true", "drop_params", True),
    ("drop_params: 'false'", "drop_params", False),
    ("additional_drop_params: [user]", "additional_drop_params", ("user",)),
    ("additional_drop_params: ['tools[*].function.strict']", "additional_drop_params", ("tools[*].function.strict",)),
    ("anthropic_betas: [context-1m-2025-08-07]", "anthropic_betas", ("context-1m-2025-08-07",)),
    ("anthropic_betas: []", "anthropic_betas", ()),
    ("lossless: reject", "lossless", True),
    ("lossless: name", "lossless", False),
    ("allowed_openai_params: [tools]", "allowed_openai_params", ("tools",)),
    ("extra_headers: {x-a: 1}", "extra_headers", {"x-a": "1"}),
    ("headers: {x-a: b}", "extra_headers", {"x-a": "b"}),
    ("extra_body: {a: {b: [1, null, 1.5]}}", "extra_body", {"a": {"b": [1, None, 1.5]}}),
    ("cache_control_injection_points: [{location: message, role: system}]", "cache_control_injection_points",
     ({"location": "message", "role": "system"},)),
    ("ssl_verify: false", "ssl_verify", False),
    ("ssl_verify: true", "ssl_verify", True),
    ("ssl_certificate: config.yaml", "ssl_certificate", "config.yaml"),
    ("ssl_key: config.yaml", "ssl_key", "config.yaml"),
    ("unpriced: allow", "unpriced_allowed", True),
    ("unpriced: refuse", "unpriced_allowed", False),
]
#: Read, and said to change nothing yet.
WITHOUT_EFFECT = {"tags", "cache_control_injection_points"}
ABOUT = [
    ("{id: east}", "id", "east"),
    ("{id: 7}", "id", "7"),
    ("{base_model: gpt-4o}", "base_model", "gpt-4o"),
    ("{mode: embedding}", "mode", "embedding"),
    ("{access_groups: [beta, x]}", "access_groups", ("beta", "x")),
    ("{blocked: true}", "blocked", True),
    ("{unpriced: allow}", "unpriced_allowed", True),
    ("{supports_vision: true, max_tokens: 8192, note: x}", "about", {"supports_vision": True, "max_tokens": 8192, "note": "x"}),
]
# fmt: on


@pytest.mark.parametrize(("params", "field", "value"), FIELDS)
def test_each_parameter_fills_its_field(entry: Any, params: str, field: str, value: object) -> None:
    read, warnings = entry(params)
    assert getattr(read, field) == value
    assert len(warnings) == (field in WITHOUT_EFFECT)
    assert (read.defaults, read.provider_params, read.prices) == ({}, {}, {})


def test_a_path_that_leads_nowhere_is_a_mistake(read: Any) -> None:
    with pytest.raises(ConfigError, match=r"which is no path"):
        read(
            "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, additional_drop_params: ['tools[x].y']}\n"
        )


def test_a_parameter_that_changes_nothing_yet_says_so(entry: Any) -> None:
    _, warnings = entry("tags: [free], cache_control_injection_points: [{location: message}]")
    assert warnings == [
        "litellm_params.tags are shown by /model/info; Tollway does not route by tags yet",
        "litellm_params.cache_control_injection_points has no effect: Tollway sets no cache marks of its own yet",
    ]
    assert entry("tags: []")[1] == []


def test_a_variable_that_is_not_set_is_said_wherever_it_is_named(read: Any) -> None:
    text = "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, api_key: os.environ/NO, rpm: os.environ/NEITHER}\n"
    assert read(text).warnings == (
        "config.yaml:3: model_list[0].litellm_params.api_key names the environment variable NO, which is not set",
        "config.yaml:3: model_list[0].litellm_params.rpm names the environment variable NEITHER, which is not set",
    )


@pytest.mark.parametrize(("info", "field", "value"), ABOUT)
def test_each_piece_of_model_info_fills_its_field(entry: Any, info: str, field: str, value: object) -> None:
    read, warnings = entry("", info)
    assert getattr(read, field) == value
    assert warnings == []


def test_every_parameter_has_a_row_above() -> None:
    assert {row[0].partition(":")[0] for row in FIELDS} | {"model"} == set(PARAMS)
    assert set(MODEL_INFO) == {"id", "base_model", "mode", "access_groups", "blocked", "unpriced"}


def test_an_empty_key_is_not_the_same_as_none(entry: Any) -> None:
    assert entry("api_key: ''")[0].api_key is not None
    assert entry("")[0].api_key is None


def test_what_model_info_says_wins_over_the_same_in_litellm_params(entry: Any) -> None:
    assert entry("base_model: x", "{base_model: y}")[0].base_model == "y"


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("1e-6", "0.000001"),
        ("1E-6", "0.000001"),
        ("0.0000025", "0.0000025"),
        ("2.5e-06", "0.0000025"),
        ("'1e-7'", "0.0000001"),
        ("0.00000123456789012345678", "0.00000123456789012345678"),
        ("0", "0"),
        ("3", "3"),
        ("1_0.5", "10.5"),
        ("+.5", "0.5"),
    ],
)
def test_prices_arrive_to_the_last_digit(entry: Any, written: str, exact: str) -> None:
    read, warnings = entry(f"input_cost_per_token: {written}", f"{{output_cost_per_token: {written}}}")
    assert read.prices == {"input_cost_per_token": exact, "output_cost_per_token": exact}
    assert Decimal(exact) == Decimal(written.strip("'").replace("_", ""))
    assert warnings == []
    assert read.about == {}


def test_prices_may_be_variables(entry: Any) -> None:
    read, _ = entry("input_cost_per_token: os.environ/PRICE", environ={"PRICE": "1e-6"})
    assert read.prices == {"input_cost_per_token": "0.000001"}


def test_prices_with_conditions_keep_them(entry: Any) -> None:
    read, warnings = entry(
        "tiered_pricing: [{range: [0, 32e3], input_cost_per_token: 1e-6}, {range: [32000, 128000], "
        "input_cost_per_token: 0.000002}], search_context_cost_per_query: {search_context_size_low: 0.03}, "
        "off_peak_pricing: {start: '16:30', input_cost_per_token: 5e-7}"
    )
    assert read.prices == {
        "tiered_pricing": [
            {"range": ["0", "32000"], "input_cost_per_token": "0.000001"},
            {"range": ["32000", "128000"], "input_cost_per_token": "0.000002"},
        ],
        "search_context_cost_per_query": {"search_context_size_low": "0.03"},
        "off_peak_pricing": {"start": "16:30", "input_cost_per_token": "0.0000005"},
    }
    assert warnings == []


def test_thresholds_that_the_price_list_does_not_have_yet_are_prices(entry: Any) -> None:
    read, warnings = entry("input_cost_per_token_above_300k_tokens: 1e-6")
    assert read.prices == {"input_cost_per_token_above_300k_tokens": "0.000001"}
    assert warnings == []


def test_a_price_of_an_unknown_kind_is_told_of(entry: Any) -> None:
    read, warnings = entry("robot_cost_per_step: 0.5")
    assert read.prices == {"robot_cost_per_step": "0.5"}
    assert warnings == ["litellm_params.robot_cost_per_step is not the name of a known price"]


# fmt: off
MISTAKES = [
    ("rpm: many", "litellm_params.rpm should be a whole number, got 'many'"),
    ("rpm: -1", "litellm_params.rpm should be a whole number, 0 or more, got '-1'"),
    ("temprature: 1", "litellm_params.temprature is not known; did you mean temperature? (under extra_body it is sent as it is)"),
    ("api_kye: do-not-show", "litellm_params.api_kye is not known; did you mean api_key? (under extra_body it is sent as it is)"),
    ("aws_secret_acces_key: do-not-show",
     ("litellm_params.aws_secret_acces_key is not known; did you mean aws_secret_access_key? (under extra_body it is sent as "
     "it is)")),
    ("input_cost_per_tokn: 1", "litellm_params.input_cost_per_tokn is not known; did you mean input_cost_per_token?"),
    ("inputcost_per_token: 1", "litellm_params.inputcost_per_token is not known; did you mean input_cost_per_token?"),
    ("input_cost_per_token: cheap", "litellm_params.input_cost_per_token should be a number, 0 or more, got 'cheap'"),
    ("input_cost_per_token: -1", "litellm_params.input_cost_per_token should be a number, 0 or more, got '-1'"),
    ("tiered_pricing: [{range: [0, 1], input_cost_per_token: cheap}]",
     "litellm_params.tiered_pricing[0].input_cost_per_token should be a number, 0 or more, got 'cheap'"),
    ("search_context_cost_per_query: {search_context_size_low: cheap}",
     "litellm_params.search_context_cost_per_query.search_context_size_low should be a number, 0 or more, got 'cheap'"),
    ("api_base: localhost:8080", ("litellm_params.api_base should be an address that begins with http:// or https://, "
     "got 'localhost:8080'")),
    ("api_base: ftp://u:do-not-show@h", "litellm_params.api_base should be an address that begins with http:// or https://"),
    ("api_base: https://u:do-not-show@h.example/v1",
     ("litellm_params.api_base should have no user and password in it: people see addresses; say them in a header")),
    ("api_base: http://169.254.169.254/latest",
     ("litellm_params.api_base is a link-local address, where clouds keep their credentials; it is never called, "
     "got 'http://169.254.169.254/latest'")),
    ("api_base: 'http://[fe80::1]/'",
     ("litellm_params.api_base is a link-local address, where clouds keep their credentials; it is never called, "
     "got 'http://[fe80::1]/'")),
    ("extra_headers: {x-a: \"b\\r\\nx-c: do-not-show\"}", "litellm_params.extra_headers.x-a should be an HTTP header on one line"),
    ("extra_headers: {'x a': do-not-show}", "litellm_params.extra_headers.x a should be an HTTP header on one line"),
    ("extra_headers: {x-a: [do-not-show]}", "litellm_params.extra_headers.x-a should be text, got a list"),
    ("extra_body: 3", "litellm_params.extra_body should be a mapping, got '3'"),
    ("tags: free", "litellm_params.tags should be a list, got 'free'"),
    ("tags: [{a: b}]", "litellm_params.tags[0] should be text, got a mapping"),
    ("unpriced: yes", "litellm_params.unpriced should be allow or refuse, got 'yes'"),
    ("timeout: 0", "litellm_params.timeout should be a number above 0, got '0'"),
    ("cache_control_injection_points: [{role: system}]",
     "litellm_params.cache_control_injection_points[0] should say its location, for example {location: message, role: system}"),
    ("custom_llm_provider: true", "litellm_params.custom_llm_provider should be text (in quotes, if this is the text), got 'true'"),
]
# fmt: on


@pytest.mark.parametrize(("params", "mistake"), MISTAKES)
def test_what_cannot_be_obeyed_is_refused(mistakes: Any, params: str, mistake: str) -> None:
    assert mistakes(params) == [mistake]
    assert "show" not in mistake


@pytest.mark.parametrize(
    ("info", "mistake"),
    [
        ("{mode: chatt}", "model_info.mode should be "),
        ("{acces_groups: [a]}", "model_info.acces_groups is not known; did you mean access_groups?"),
        ("{base_modl: a}", "model_info.base_modl is not known; did you mean base_model?"),
        ("{input_cost_per_tokn: 1}", "model_info.input_cost_per_tokn is not known; did you mean input_cost_per_token?"),
        ("{blocked: maybe}", "model_info.blocked should be true or false, got 'maybe'"),
        ("3", "model_info should be a mapping, got '3'"),
    ],
)
def test_model_info_that_cannot_be_obeyed_is_refused(mistakes: Any, info: str, mistake: str) -> None:
    (found,) = mistakes("", info)
    assert found.startswith(mistake)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ("{}", ["model_list[0] has no model_name", "model_list[0] has no litellm_params"]),
        ("{litellm_params: {model: x}}", ["model_list[0] has no model_name"]),
        ("{model_name: x}", ["model_list[0] has no litellm_params"]),
        ("{model_name: x, litellm_params: {}}", ["model_list[0].litellm_params has no model"]),
        ("{model_name: x, litellm_params: {model: }}", ["model_list[0].litellm_params has no model"]),
        ("{model_name: x, litellm_params: {model: os.environ/M}}",
         ["model_list[0].litellm_params has no model: the environment variable M is not set"]),
        ("{model_name: '', litellm_params: {model: x}}", ["model_list[0].model_name should not be empty, got ''"]),
        ("{model_name: x, litellm_params: openai/x}",
         ["model_list[0].litellm_params should be a mapping, got 'openai/x'"]),
        ("gpt-4o", ["model_list[0] should be a mapping, got 'gpt-4o'"]),
        ("{model_name: x, litellm_params: {model: x}, api_key: k}", ["model_list[0].api_key belongs under litellm_params"]),
        ("{model_name: x, litelm_params: {model: x}}",
         ["model_list[0].litelm_params is not known; did you mean litellm_params?", "model_list[0] has no litellm_params"]),
    ],
)  # fmt: skip
def test_an_entry_needs_a_name_and_a_model(problems: Any, item: str, found: list[str]) -> None:
    assert problems(f"model_list: [{item}]") == [f"config.yaml:1: {problem}" for problem in found]


def test_an_id_stands_once(problems: Any) -> None:
    text = """\
        model_list:
          - {model_name: a, litellm_params: {model: x}, model_info: {id: one}}
          - {model_name: b, litellm_params: {model: y}, model_info: {id: one}}
        """
    assert problems(text) == [
        "config.yaml:3: model_list[1] has the id 'one', which the entry at config.yaml:2 has already"
    ]


def test_parameters_of_requests_become_defaults(entry: Any) -> None:
    read, warnings = entry(
        "temperature: 1e-1, max_tokens: 100, stop: ['\\n'], thinking: {type: enabled}, user: 2024-02-01"
    )
    assert read.defaults == {
        "temperature": 0.1,
        "max_tokens": 100,
        "stop": ["\\n"],
        "thinking": {"type": "enabled"},
        "user": "2024-02-01",
    }
    assert warnings == []


def test_what_only_the_provider_knows_is_sent_with_a_warning(entry: Any) -> None:
    read, warnings = entry("colour: red, zzz_top: 3")
    assert read.defaults == {"colour": "red", "zzz_top": 3}
    assert warnings == [
        "litellm_params.colour is not known; it is sent to the provider as it is",
        "litellm_params.zzz_top is not known; it is sent to the provider as it is",
    ]


def test_an_unknown_secret_is_not_sent(entry: Any) -> None:
    read, warnings = entry("hf_gateway_password: x")
    assert read.defaults == {}
    assert warnings == [
        (
            "litellm_params.hf_gateway_password is not known and looks like a secret; it is not sent (under extra_body it "
            "would be)"
        )
    ]


def test_what_litellm_has_and_we_do_not_is_told_of_and_not_sent(entry: Any) -> None:
    read, warnings = entry("mock_response: hi, itpm: 5, aws_secret_access_key: x")
    assert (read.defaults, read.provider_params) == ({}, {})
    assert warnings == [
        "litellm_params.mock_response is a LiteLLM setting that Tollway does not have yet; it has no effect",
        "litellm_params.itpm is a LiteLLM setting that Tollway does not have yet; nobody is held back by it",
        "litellm_params.aws_secret_access_key is a LiteLLM setting that Tollway does not have yet; it has no effect",
    ]


def test_what_providers_understand_is_kept_apart_from_requests(entry: Any) -> None:
    names = frozenset({"aws_region_name", "aws_secret_access_key", "vertex_credentials", "organization"})
    read, warnings = entry(
        "aws_region_name: eu, aws_secret_access_key: x, vertex_credentials: {private_key: y}, organization: org-1",
        provider_parameters=names,
    )
    assert read.provider_params == {
        "aws_region_name": "eu",
        "aws_secret_access_key": Secret("x"),
        "vertex_credentials": Secret('{"private_key":"y"}'),
        "organization": "org-1",
    }
    assert read.defaults == {}
    assert warnings == []


def test_a_model_of_one_team_serves_nobody_as_long_as_we_cannot_keep_it_for_them(entry: Any) -> None:
    read, warnings = entry("", "{team_id: t1}")
    assert read.blocked
    assert read.about == {"team_id": "t1"}
    assert warnings == [
        "model_info.team_id keeps a model for one team, which Tollway cannot do yet; until then it serves nobody"
    ]


def test_every_name_of_litellms_is_accepted(read: Any) -> None:
    params = ", ".join(f"{name}: {{}}" for name in sorted(known.LITELLM_PARAMS - PARAMS.keys()))
    config = read(f"model_list: [{{model_name: a, litellm_params: {{model: x, {params}}}}}]")
    assert len(config.warnings) == len(known.LITELLM_PARAMS - PARAMS.keys())
    assert config.models[0].defaults == {}


def test_every_name_of_the_public_price_list_is_a_price(entry: Any) -> None:
    names = sorted(known.PRICES - {"tiered_pricing", "off_peak_pricing"})
    read, warnings = entry(", ".join(f"{name}: 1e-9" for name in names))
    assert read.prices == dict.fromkeys(names, "0.000000001")
    assert warnings == []
