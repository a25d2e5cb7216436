from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Secret
from tollway.errors import ConfigError
from tollway.providers import Introduction, MissingSetting, ended
from tollway.providers.openai_compatible import OpenAICompatible

CARD = Introduction(
    display="Some",
    base_url="https://some.example/v1",
    base_url_env=("SOME_API_BASE", "SOME_BASE_URL"),
    key_env=("SOME_API_KEY", "SOME_TOKEN"),
)
SOME = OpenAICompatible("some", CARD)


def made(**columns: Any) -> OpenAICompatible:
    return OpenAICompatible("some", Introduction(display="Some", **columns))


def test_the_entry_s_address_comes_before_a_variable_s_and_that_before_the_own_one(wire: Any) -> None:
    environment = {"SOME_TOKEN": "k", "SOME_BASE_URL": "https://two.example", "SOME_API_BASE": "https://one.example"}
    assert wire(SOME, environment=environment, api_base="https://entry.example").url.startswith(
        "https://entry.example/"
    )
    assert wire(SOME, environment=environment).url == "https://one.example/chat/completions"
    del environment["SOME_API_BASE"]
    assert wire(SOME, environment=environment).url == "https://two.example/chat/completions"
    del environment["SOME_BASE_URL"]
    assert wire(SOME, environment=environment).url == "https://some.example/v1/chat/completions"


def test_the_entry_s_key_comes_before_the_variables_in_their_order(wire: Any) -> None:
    environment = {"SOME_TOKEN": "second", "SOME_API_KEY": "first"}
    assert wire(SOME, environment=environment, api_key="own").headers == {"authorization": "Bearer own"}
    assert wire(SOME, environment=environment).headers == {"authorization": "Bearer first"}
    environment["SOME_API_KEY"] = ""
    assert wire(SOME, environment=environment).headers == {"authorization": "Bearer second"}


def test_a_missing_key_names_every_variable_that_would_do(entry: Any) -> None:
    with pytest.raises(
        MissingSetting, match=r"^some needs a key: set SOME_API_KEY or SOME_TOKEN or api_key$"
    ) as caught:
        SOME.key(entry(), {})
    assert caught.value.names == ("SOME_API_KEY", "SOME_TOKEN", "api_key")


def test_a_missing_address_names_every_setting_that_would_do(entry: Any) -> None:
    provider = made(base_url_env=("SOME_API_BASE",), key_env=("K",))
    with pytest.raises(MissingSetting, match=r"^some needs an address: set SOME_API_BASE or api_base$"):
        provider.base_url(entry(), {})


def test_a_provider_that_needs_no_key_sends_none_and_shows_one_that_is_given(wire: Any) -> None:
    provider = made(base_url="http://localhost:1/v1", key_env=("K",), key_needed=False)
    assert wire(provider).headers == {}
    assert wire(provider, environment={"K": "k"}).headers == {"authorization": "Bearer k"}


def test_a_key_may_go_in_a_header_of_its_own_without_the_white_space_around_it(wire: Any) -> None:
    provider = made(base_url="https://some.example", key_env=("K",), auth="x-some-key")
    assert wire(provider, environment={"K": "k\n"}).headers == {"x-some-key": "k"}


@pytest.mark.parametrize(
    "written",
    [
        "https://h.example/v1",
        "https://h.example/v1/",
        " https://h.example/v1// ",
        "https://h.example/v1/chat/completions",
        "https://h.example/v1/chat/completions/",
    ],
)
def test_an_address_may_be_written_with_what_people_copy_along(written: str, entry: Any) -> None:
    assert SOME.base_url(entry(api_base=written), {}) == "https://h.example/v1"


@pytest.mark.parametrize(
    "written", ["h.example/v1", "ftp://h.example", "https://", "https://h.example/v1?x=1", "http:// h"]
)
def test_what_is_no_address_is_refused_with_its_place(written: str, entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"^config.yaml:7: some: .* is no base URL"):
        SOME.base_url(entry(api_base=written, place="config.yaml:7"), {})


def test_a_refused_address_is_shown_without_what_may_be_secret_in_it(entry: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        SOME.base_url(entry(api_base="https://me:sesame@h.example/v1?key=sesame"), {})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "end", "whole"),
    [
        ("http://h:1", "/v1", "http://h:1/v1"),
        ("http://h:1/v1", "/v1", "http://h:1/v1"),
        ("http://h:1/sub", "/v1", "http://h:1/sub/v1"),
        ("https://h/v1beta", "/v1beta/openai", "https://h/v1beta/openai"),
        ("https://h/v1beta/openai", "/v1beta/openai", "https://h/v1beta/openai"),
        ("https://h", "/v1beta/openai", "https://h/v1beta/openai"),
        ("https://h/api", "", "https://h/api"),
        ("https://h/xv1", "/v1", "https://h/xv1/v1"),
    ],
)
def test_an_address_gets_what_it_lacks_of_its_end(url: str, end: str, whole: str) -> None:
    assert ended(url, end) == whole


def test_a_placeholder_is_filled_from_the_first_variable_that_is_set(wire: Any, entry: Any) -> None:
    provider = made(base_url="https://{OWN_REGION|AWS_REGION}.example/v1", key_env=("K",))
    assert wire(provider, environment={"K": "k", "AWS_REGION": "eu"}).url == "https://eu.example/v1/chat/completions"
    both = {"K": "k", "AWS_REGION": "eu", "OWN_REGION": "us"}
    assert wire(provider, environment=both).url == "https://us.example/v1/chat/completions"
    with pytest.raises(MissingSetting, match="set OWN_REGION or AWS_REGION or api_base"):
        provider.base_url(entry(), {})


def test_the_entry_s_headers_are_added_and_come_before_ours(wire: Any) -> None:
    out = wire(SOME, api_key="k", extra_headers={"X-Title": " mine ", "Authorization": "Basic x"})
    assert out.headers == {"authorization": "Basic x", "x-title": "mine"}


@pytest.mark.parametrize(("name", "value"), [("x-a", "b\r\nx-evil: 1"), ("x a", "b"), ("x-a", "snow\u2603"), ("", "b")])
def test_a_header_that_would_break_the_request_is_refused_without_its_value(name: str, value: str, entry: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        SOME.headers(Secret("k"), entry(extra_headers={name: value}))
    assert value.strip() not in str(caught.value) or value == "b"


def test_a_key_with_a_line_break_inside_is_refused_and_never_shown(entry: Any) -> None:
    with pytest.raises(ConfigError, match="authorization") as caught:
        SOME.headers(Secret("sesame\nopen"), entry())
    assert "sesame" not in str(caught.value)


def test_headers_from_variables_are_sent_when_these_are_set(wire: Any, entry: Any) -> None:
    provider = made(base_url="https://some.example", key_env=("K",), header_env={"x-title": "APP"})
    assert wire(provider, environment={"K": "k"}).headers == {"authorization": "Bearer k"}
    out = wire(provider, environment={"K": "k", "APP": "mine"})
    assert out.headers == {"authorization": "Bearer k", "x-title": "mine"}
    assert provider.at(entry(), {}) is provider


def test_an_operation_that_is_not_offered_has_no_path() -> None:
    provider = made(base_url="https://some.example", key_env=("K",), operations=("chat",))
    assert provider.path("chat", "m") == "/chat/completions"
    assert provider.path("embeddings", "m") is None


@pytest.mark.parametrize(
    ("fields", "after", "dropped"),
    [
        ({"max_completion_tokens": b"5"}, {"max_tokens": b"5"}, []),
        ({"max_tokens": b"5"}, {"max_tokens": b"5"}, []),
        ({"max_tokens": b"7", "max_completion_tokens": b"5"}, {"max_tokens": b"5"}, ["max_tokens"]),
        ({"max_tokens": b"5", "max_completion_tokens": b"5"}, {"max_tokens": b"5"}, []),
        ({"max_tokens": b"5", "max_completion_tokens": b"null"}, {"max_tokens": b"5"}, []),
        ({"max_completion_tokens": b"null"}, {}, []),
        ({"temperature": b"1"}, {"temperature": b"1"}, []),
    ],
)
def test_an_output_limit_goes_under_the_one_name_that_is_known(
    fields: dict[str, bytes], after: dict[str, bytes], dropped: list[str]
) -> None:
    provider = made(base_url="https://some.example", key_env=("K",), output_limit="max_tokens")
    raw = {name: Raw(value) for name, value in fields.items()}
    assert provider.adapt(raw) == dropped
    assert {name: bytes(value) for name, value in raw.items()} == after


def test_a_provider_that_refuses_stream_options_is_not_sent_them() -> None:
    provider = made(base_url="https://some.example", key_env=("K",), stream_usage=False)
    fields = {"stream": Raw(b"true"), "stream_options": Raw(b'{"include_usage":true}')}
    assert provider.adapt(fields) == []
    assert list(fields) == ["stream"]


def test_a_plain_provider_changes_nothing() -> None:
    fields = {"model": Raw(b'"m"'), "max_completion_tokens": Raw(b"5"), "novel": Raw(b"[1]")}
    before = dict(fields)
    assert SOME.adapt(fields) == []
    assert fields == before
