"""LiteLLM's management calls, asked of a gateway in the order of an administrator's day: each answers with the same status, the
same fields and, where a call determines them, the same values.

`contracts.json` holds facts about LiteLLM Proxy 1.106.2 (2026-11-21): what is asked, and for each field of the answer its value,
or `<...>` where the value is another each time (`<any>`: nothing is said of it). Of a list the first element stands for all.
`answer_as` names an earlier answer that this one is like but for some fields; `$name.field` is a field of an answer that was kept.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tollway.admin.application import ROUTES
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.testing import FakeReply
from tollway.testing.clock import FakeClock
from tollway.testing.gateway import CHAT_PATH, MASTER_KEY, Answer, SmallGateway, model_entry

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "api.md"
CONTRACTS: dict[str, list[dict[str, Any]]] = json.loads((HERE / "contracts.json").read_text())
CASES = [(day, case["name"]) for day, cases in CONTRACTS.items() for case in cases]
#: 2026-11-21 22:39:02 UTC
BEGIN_S = 1_795_300_742.0
PRICES = {
    "input_cost_per_token": "0.0000025",
    "cache_read_input_token_cost": "0.00000125",
    "output_cost_per_token": "0.00001",
}
#: What the provider counts: it costs 0.0000975 dollars.
USAGE = {
    "prompt_tokens": 13,
    "completion_tokens": 7,
    "total_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 2,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}

# --- where answers differ on purpose, and why: docs/api.md says the same sentences

ERRORS = "An error's `type` and `param` say what is wrong; LiteLLM's often say `internal_server_error` and nothing."
CLIENTS = "What the client did wrong is a 400, never a 500."
BODY = "Every error has the same body, also where LiteLLM answers with a bare `detail`."
SOLD = "What LiteLLM does with a licence alone works without one."
REFUSED = "A field that nothing would obey is refused with 400; LiteLLM keeps it, or asks for a licence."
WORKS = "`/customer/block` works."
MAKER = "Who made a key, and its hash, are told of a user's first key, too."
SOFT = "A soft budget is the key's own: no budget with an id is made for it."
MODEL_LIMITS = "`model_rpm_limit` and `model_tpm_limit` are shown where they were set, and in `metadata` as in LiteLLM."
MODELS = "A model that was added is shown readable, its secrets masked; LiteLLM shows it encrypted, with switches of its own."
COUNT = "Tokens are counted by characters: `tokenizer_type` is `characters`."
REHEARSED = (
    "`/utils/transform_request` shows the whole address and the headers that are no secret, and adds no `extra_body`."
)
ROWS = (
    "A row's `metadata` has no `model_map_information`, and nothing in `max_retries` and `litellm_overhead_time_ms`; what only"
    " Tollway knows stands in `tollway`."
)
NOBODYS = "What no team spent is counted under `Unassigned`."

_ROW = {
    ".metadata.model_map_information",
    ".metadata.tollway",
    ".metadata.litellm_overhead_time_ms",
    ".metadata.max_retries",
}
_ERROR = {".error.type", ".error.param"}
_MAKER = {".created_by", ".updated_by", ".key_type"}


def _in(place: str, fields: set[str]) -> set[str]:
    return {place + field for field in fields}


#: By case: why it differs, and where; "status" is all of it.
DIFFERENCES: dict[str, tuple[str, set[str]]] = {
    **dict.fromkeys(
        (
            *(f"budget_duration {one!r}" for one in ("2mo", "month", "1M", "1y", "")),
            *("a text that is no key", "nobody asks", "delete what is not there", "key with max_budget below zero"),
            "global tags without days",
        ),
        (ERRORS, _ERROR),
    ),
    "provider budgets": (CLIENTS, {"status"}),
    "key with organization_id": (CLIENTS, {"status"}),
    "key with duration that is none": (CLIENTS, {"status"}),
    "it lists keys": (BODY, {".detail", ".error"}),
    **{
        name: (SOLD, {"status"})
        for name in (
            *("regenerate", "an organisation", "organisations", "key with model_max_budget", "key with tags", "report"),
            "key with model_max_budget in other words",
        )
    },
    "audit": (SOLD, {".audit_logs", ".total", ".total_pages"}),
    **{
        f"key with {name}": (REFUSED, {"status"})
        for name in (
            *("guardrails", "enforced_params", "auto_rotate", "policies", "prompts", "allowed_passthrough_routes"),
            *("object_permission", "project_id", "rpm_limit_type", "router_settings", "disable_global_guardrails"),
        )
    },
    "customer block": (WORKS, {"status"}),
    "a user": (MAKER, {".token", ".token_id", *_MAKER}),
    "user info": (MAKER, _in(".keys[]", _MAKER)),
    "a user's key asks about itself": (MAKER, _in(".info", _MAKER)),
    "a user asks about itself": (MAKER, {*_in(".keys[]", _MAKER), ".keys[].key_alias"}),
    "key with soft_budget": (SOFT, {".budget_id", ".litellm_budget_table.budget_id"}),
    "key with model_rpm_limit": (MODEL_LIMITS, {".model_rpm_limit"}),
    **{
        name: (
            MODELS,
            {
                *_in(".litellm_params", {".use_in_pass_through", ".use_xai_oauth", ".use_litellm_proxy"}),
                *_in(".litellm_params", {".merge_reasoning_content_in_choices", ".allow_client_keepalive_override"}),
                *(".model_info.member_auto_router", ".model_info.db_model"),
            },
        )
        for name in ("a model", "model update")
    },
    "count tokens": (COUNT, {".tokenizer_type"}),
    "transform a request": (
        REHEARSED,
        {
            ".raw_request_body.extra_body",
            *_in(".raw_request_headers", {".content-type", ".accept-encoding"}),
        },
    ),
    **{name: (ROWS, _in("[]", _ROW)) for name in ("rows", "rows of days", "a row")},
    **{name: (ROWS, _in(".data[]", _ROW)) for name in ("a page of rows", "a page of rows for pages")},
    "global teams": (NOBODYS, {".daily_spend[].Unassigned", ".total_spend_per_team[].total_spend"}),
}

# --- asking


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Answer, Any]]:
    """Every case's answer, and what was expected of it."""
    found: dict[tuple[str, str], tuple[Answer, Any]] = {}
    for day, cases in CONTRACTS.items():
        found |= {(day, name): one for name, one in asyncio.run(_ask(cases, tmp_path_factory.mktemp(day))).items()}
    return found


async def _ask(cases: list[dict[str, Any]], folder: Path) -> dict[str, tuple[Answer, Any]]:
    config = Config(access=AccessSettings(master_key=Secret(MASTER_KEY), salt_key=Secret("a salt of these tests")))
    models = [model_entry("gpt-4o", prices=PRICES), model_entry("claude-opus-4-6")]
    found: dict[str, tuple[Answer, Any]] = {}
    kept: dict[str, Any] = {}
    by_name = {case["name"]: case for case in cases}
    async with SmallGateway(folder, models, config=config, clock=FakeClock(BEGIN_S)) as gateway:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
        gateway.upstream.reply_to(None, FakeReply.json({**reply, "usage": USAGE}))
        for case in cases:
            gateway.clock.advance(1)
            method, path = _filled(case["ask"], kept).split(" ")
            who = _filled(case["as"], kept)
            answer = await gateway.ask(
                key=MASTER_KEY if who == "master" else who,
                method=method,
                path=path,
                query=urlencode(_filled(case.get("query", {}), kept)).encode(),
                headers={"content-type": "application/json", "user-agent": "python-httpx/0.28.1"},
                body=msgspec.json.encode(_filled(case["body"], kept)) if "body" in case else b"",
            )
            if "keep" in case or path == CHAT_PATH:
                kept[case.get("keep", case["name"])] = answer.json()
            expected = (
                {**by_name[case["answer_as"]]["answer"], **case["answer"]}
                if "answer_as" in case
                else case.get("answer")
            )
            found[case["name"]] = answer, _filled(expected, kept)
    return found


def _filled(value: Any, kept: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, kept) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, kept) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\$([\w ]+)\.(\w+)", lambda found: str(kept[found[1]][found[2]]), value)
    return value


# --- comparing

_KINDS = {
    "<any>": lambda found: True,
    "<number>": lambda found: isinstance(found, (int, float)) and not isinstance(found, bool),
    "<text>": lambda found: isinstance(found, str),
    "<uuid>": lambda found: isinstance(found, str) and len(found) == 36,
    "<hash>": lambda found: isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) is not None,
    "<key>": lambda found: isinstance(found, str) and re.fullmatch(r"sk-[\w-]{16,}", found) is not None,
    "<key name>": lambda found: isinstance(found, str) and re.fullmatch(r"sk-\.\.\..{4}", found) is not None,
    "<time Z>": lambda found: isinstance(found, str) and re.fullmatch(r"[\d-]{10}T[\d:.]+Z", found) is not None,
    "<time +>": lambda found: isinstance(found, str) and re.fullmatch(r"[\d-]{10}T[\d:.]+\+00:00", found) is not None,
}


def differences(expected: Any, found: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(place, what is different there)"""
    if isinstance(expected, str) and expected in _KINDS:
        if not _KINDS[expected](found):
            yield place, f"{found!r} is no {expected}"
    elif isinstance(expected, dict) and isinstance(found, dict):
        found = {
            "<hash>" if _KINDS["<hash>"](name) and "<hash>" in expected else name: one for name, one in found.items()
        }
        yield from ((f"{place}.{name}", "is missing") for name in expected.keys() - found.keys())
        yield from ((f"{place}.{name}", "is one more") for name in found.keys() - expected.keys())
        for name in expected.keys() & found.keys():
            yield from differences(expected[name], found[name], f"{place}.{name}")
    elif isinstance(expected, list) and isinstance(found, list):
        if bool(expected) != bool(found):
            yield place, f"{found!r} instead of {expected!r}"
        elif expected:
            yield from differences(expected[0], found[0], f"{place}[]")
    elif _is_number(expected) and _is_number(found):
        if found != pytest.approx(expected):
            yield place, f"{found!r} instead of {expected!r}"
    elif expected != found or type(expected) is not type(found):
        yield place, f"{found!r} instead of {expected!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@pytest.mark.parametrize(("day", "name"), CASES, ids=lambda one: one)
def test_a_management_call_answers_as_litellm_does(
    day: str, name: str, answered: dict[tuple[str, str], tuple[Answer, Any]]
) -> None:
    (case,) = [case for case in CONTRACTS[day] if case["name"] == name]
    answer, expected = answered[day, name]
    _, apart = DIFFERENCES.get(name, ("", set()))
    if "status" in apart:
        assert answer.status != case["status"]
        assert answer.status in (200, 400), answer.body
        return
    assert answer.status == case["status"], answer.body
    if expected is not None:
        found = dict(differences(expected, answer.json()))
        assert {place: what for place, what in found.items() if place not in apart} == {}
        assert apart - _ERROR <= found.keys(), "these do not differ any more"


def test_each_difference_has_its_reason_in_the_page() -> None:
    about = PAGE.read_text(encoding="utf-8")
    assert set(DIFFERENCES) <= {name for _, name in CASES}
    for reason, _ in DIFFERENCES.values():
        assert reason in about, reason


def test_no_path_that_the_page_leaves_out_is_served() -> None:
    about = PAGE.read_text(encoding="utf-8").partition("### What is left out")[2].partition("\n### ")[0]
    named = {
        path
        for row in about.splitlines()
        for path in re.findall(r"`(/[^`]+)`", row.split("|")[1] if "|" in row else "")
    }
    assert "/agent/*" in named
    for path in named:
        assert not [
            one.path for one in ROUTES if one.path == path or one.path.startswith(path.removesuffix("*") + "/")
        ], path


def test_an_answer_that_differs_is_found() -> None:
    expected = {"a": 1, "b": [{"c": "<hash>"}], "d": None}
    assert dict(differences(expected, {"a": 1.0, "b": [{"c": "0" * 64}], "d": None})) == {}
    found = dict(differences(expected, {"a": True, "b": [{"c": "x"}], "e": 1}))
    assert found.keys() == {".a", ".b[].c", ".d", ".e"}
