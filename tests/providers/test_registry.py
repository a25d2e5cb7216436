from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tollway.providers import registry
from tollway.providers.registry import NOT_YET, UnknownProvider, find, names, resolve, variables
from tollway.testing.machine import slowness


def nobody(model: str) -> str | None:
    return None


@pytest.mark.parametrize(
    ("written", "provider", "model"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        ("anthropic/claude-opus-4-6", "anthropic", "claude-opus-4-6"),
        ("azure/my-deployment", "azure", "my-deployment"),
        ("fireworks_ai/llama-v3p1-8b", "fireworks_ai", "accounts/fireworks/models/llama-v3p1-8b"),
        ("huggingface/groq/meta-llama/Llama-3.3-70B", "huggingface", "meta-llama/Llama-3.3-70B:groq"),
        ("openai/*", "openai", "*"),
        ("fireworks_ai/*", "fireworks_ai", "*"),
        ("nano-gpt/x", "nano-gpt", "x"),
        ("ai21/jamba", "ai21", "jamba"),
    ],
)
def test_a_prefix_names_the_provider_and_the_rest_is_the_model(written: str, provider: str, model: str) -> None:
    found, name = resolve(written, None, nobody)
    assert (found.name, name) == (provider, model)


def test_a_model_without_a_prefix_is_looked_up() -> None:
    found, name = resolve("gpt-4o", None, {"gpt-4o": "openai"}.get)
    assert (found.name, name) == ("openai", "gpt-4o")


def test_a_name_with_a_slash_that_is_no_provider_is_looked_up_whole() -> None:
    found, name = resolve("meta-llama/Llama-3-70b", None, {"meta-llama/Llama-3-70b": "together_ai"}.get)
    assert (found.name, name) == ("together_ai", "meta-llama/Llama-3-70b")


def test_a_provider_named_outright_wins_and_its_prefix_is_taken_off() -> None:
    assert resolve("groq/llama", "groq", nobody)[1] == "llama"
    found, name = resolve("openai/gpt-oss-120b", "groq", nobody)
    assert (found.name, name) == ("groq", "openai/gpt-oss-120b")


def test_resolving_twice_changes_nothing() -> None:
    for written in ("fireworks_ai/llama", "huggingface/groq/org/model"):
        provider, name = resolve(written, None, nobody)
        assert provider.model_name(name) == name


def test_an_unknown_model_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownProvider, match=r"'opnai/gpt-4o'.*did you mean openai/gpt-4o") as caught:
        resolve("opnai/gpt-4o", None, nobody)
    assert caught.value.model == "opnai/gpt-4o"
    assert caught.value.nearest == ("openai/gpt-4o",)
    assert isinstance(caught.value, LookupError)


def test_an_unknown_model_without_a_near_name_is_told_how_to_be_written() -> None:
    with pytest.raises(UnknownProvider, match="write it as provider/model") as caught:
        resolve("zzzzzz", None, nobody)
    assert caught.value.nearest == ()


def test_an_unknown_provider_named_outright_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownProvider, match=r"no provider is called 'gorq' \(did you mean groq"):
        resolve("llama", "gorq", nobody)


@pytest.mark.parametrize("written", ["sap/x", "nlp_cloud/y", "triton/a/b"])
def test_a_provider_that_is_not_spoken_yet_is_named_plainly(written: str) -> None:
    prefix = written.split("/")[0]
    with pytest.raises(UnknownProvider, match=f"'{written}': Tollway does not speak {prefix} yet"):
        resolve(written, None, nobody)


def test_a_looked_up_provider_that_is_not_spoken_yet_is_named_plainly() -> None:
    with pytest.raises(UnknownProvider, match="does not speak triton yet"):
        resolve("llama", None, {"llama": "triton"}.get)


def test_a_provider_without_a_model_is_refused() -> None:
    with pytest.raises(UnknownProvider, match="has a provider and no name"):
        resolve("openai/", None, nobody)


def test_every_sentence_on_what_is_not_spoken_names_a_way_that_exists() -> None:
    for reason in NOT_YET.values():
        for word in reason.replace(";", " ").split():
            if word.endswith("/"):
                assert find(word[:-1]) is not None, reason


def test_find_knows_every_name_and_nothing_else() -> None:
    assert all(find(name) is not None for name in names())
    assert list(names()) == sorted(names())
    assert find("nobody") is None


def test_variables_hold_keys_addresses_and_what_addresses_are_made_of() -> None:
    known = variables()
    assert {
        "OPENAI_API_KEY",
        "OPENAI_ORGANIZATION",
        "ANTHROPIC_AUTH_TOKEN",
        "AZURE_API_VERSION",
        "CLOUDFLARE_ACCOUNT_ID",
        "BEDROCK_MANTLE_REGION",
        "AWS_REGION",
        "OLLAMA_API_BASE",
        "OR_SITE_URL",
    } <= known
    assert not any("|" in name or "{" in name for name in known)


def test_nothing_is_made_at_import() -> None:
    code = (
        "import sys, tollway.providers.registry as r; "
        "assert r.providers.cache_info().currsize == 0; "
        "assert 'tollway.providers.openai_compatible' not in sys.modules and 'tomllib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_is_read_within_ten_milliseconds_on_a_quiet_machine() -> None:
    slower = slowness()
    took = []
    for _ in range(5):
        start = time.perf_counter()
        registry._from_rows()
        took.append(time.perf_counter() - start)
    assert min(took) <= 0.010 * max(slower, slowness())
