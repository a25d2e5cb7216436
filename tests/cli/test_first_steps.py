"""A start in a folder without a configuration: what is offered, what is asked, what is written, and when nothing is."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tollway.cli import first_steps
from tollway.cli.first_steps import FIRST_MODELS, Answers, Offer, asked, greet, here, offers_of, text_of
from tollway.cli.flags import Flags
from tollway.cli.refusal import Refused
from tollway.config import load
from tollway.config.settings import Config
from tollway.providers import registry

from .conftest import Start

OPENAI = Offer("openai", "OpenAI", "gpt-4o-mini", "openai/gpt-4o-mini", "OPENAI_API_KEY")
LOCAL = Offer("local", "SmolLM2 on this machine", "smollm2", "local/smollm2", to_be_done="is here")

Typed = Callable[[str], None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment in which nothing is said."""
    for name in {*registry.variables(), *first_steps.ELSEWHERE, "LITELLM_MASTER_KEY", "TOLLWAY_DATA_DIR"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    def answer(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return answer


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done for the local model, in place of doing it."""
    done: list[str] = []
    monkeypatch.setattr(first_steps, "_prepare_local", lambda: done.append("local"))
    return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- what is offered


def offered(**environ: str) -> list[tuple[str, str, str]]:
    config = load(None, environ=environ, provider_variables=registry.variables())
    return [(offer.display, offer.model, offer.variable) for offer in offers_of(config, environ)]


def test_without_any_key_there_is_the_local_model() -> None:
    ((display, model, variable),) = offered()
    assert (display, model, variable) == ("SmolLM2 on this machine", "smollm2", "")


def test_each_key_of_the_environment_offers_its_provider_once_with_a_model_that_is_priced() -> None:
    found = offered(OPENAI_API_KEY="sk-o", ANTHROPIC_API_KEY="sk-a", GROQ_API_KEY="sk-g", MISTRAL_API_KEY=" ")
    assert [(display, variable) for display, _, variable in found] == [
        ("OpenAI", "OPENAI_API_KEY"),
        ("Anthropic", "ANTHROPIC_API_KEY"),
        ("Groq", "GROQ_API_KEY"),
        ("SmolLM2 on this machine", ""),
    ]
    assert found[0][1] == FIRST_MODELS["openai"]
    assert found[2][1]


def test_a_provider_that_needs_more_than_a_key_is_not_offered_before_it_has_that() -> None:
    assert [variable for _, _, variable in offered(AZURE_API_KEY="k")] == [""]


def test_the_models_to_begin_with_are_known_and_priced() -> None:
    from tollway.app import catalog_in_force

    catalog, _ = catalog_in_force(Path("nowhere"))
    for provider, model in FIRST_MODELS.items():
        facts = catalog.find(provider, model)
        assert facts is not None, model
        assert facts.price is not None, model
        assert facts.mode == "chat", model


# --- what is asked


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        ("\n\n\n", Answers((OPENAI,), None, True)),
        ("1,2\n25\nn\n", Answers((OPENAI, LOCAL), "25", False)),
        ("2 1\n$0.50\nyes\n", Answers((LOCAL, OPENAI), "0.50", True)),
        ("9\nall\n2\nmuch\nno limit\nperhaps\nN\n", Answers((LOCAL,), None, False)),
    ],
)
def test_enter_takes_what_is_usual_and_what_cannot_be_read_is_asked_again(
    typed: Typed, lines: str, answers: Answers
) -> None:
    typed(lines)
    assert asked([OPENAI, LOCAL]) == answers


@pytest.mark.parametrize("lines", ["", "1\n", "x\n" * 3, "1\n-5\n-5\n-5\n"])
def test_no_answer_writes_nothing(typed: Typed, folder: Path, lines: str) -> None:
    typed(lines)
    with pytest.raises(Refused, match="nothing was written"):
        asked([OPENAI, LOCAL])
    assert list(folder.iterdir()) == []


# --- what is written


def test_what_is_written_is_read_without_a_warning_and_says_what_was_answered(folder: Path) -> None:
    Path("config.yaml").write_text(text_of(Answers((OPENAI, LOCAL), "25", True)))
    keys = {"OPENAI_API_KEY": "sk-of-nobody"}
    config = load("config.yaml", environ=keys, provider_variables=registry.variables())
    assert config.warnings == ()
    assert [(entry.model_name, entry.provider_model) for entry in config.models] == [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai/*", "openai/*"),
        ("smollm2", "local/smollm2"),
    ]
    assert (config.money.max_budget_usd, config.money.budget_duration) == ("25", "monthly")
    assert config.logs.store_bodies is True
    assert "sk-of-nobody" not in Path("config.yaml").read_text()

    Path("config.yaml").write_text(text_of(Answers((LOCAL,), None, False)))
    config = load("config.yaml", environ={}, provider_variables=registry.variables())
    assert (config.money.max_budget_usd, config.logs.store_bodies, config.warnings) == (None, False, ())


def test_yes_asks_nothing_and_says_what_it_chose(
    folder: Path, fetched: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, answers = here(Flags(port=free_port()), yes=True, typed=True)
    assert flags.config == "config.yaml"
    assert answers is not None
    assert [offer.model for offer in answers.offers] == ["smollm2"]
    assert fetched == ["local"]
    said = capsys.readouterr().out
    assert "Chosen: SmolLM2 on this machine (smollm2); no limit on spending; requests and answers are kept" in said

    os.unlink("config.yaml")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    here(Flags(port=free_port()), yes=True, typed=True)
    assert fetched == ["local"], "with a provider's key the local model is not fetched unasked"
    assert "Chosen: OpenAI (gpt-4o-mini)" in capsys.readouterr().out


def test_a_file_that_came_to_be_meanwhile_is_left_as_it_is(folder: Path, fetched: list[str]) -> None:
    first_steps._write("config.yaml", "first")
    with pytest.raises(Refused, match="left as it is"):
        first_steps._write("config.yaml", "second")
    assert Path("config.yaml").read_text() == "first"


def test_a_port_that_is_taken_is_told_before_anything_is_asked_or_written(folder: Path, fetched: list[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(Refused, match="is taken"):
            here(Flags(port=holder.getsockname()[1]), yes=True, typed=True)
    assert (list(folder.iterdir()), fetched) == ([], [])


# --- when nothing is asked


def test_a_configuration_in_the_folder_is_served_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("model_list: []\n")
    flags, answers = here(Flags(), yes=False, typed=False)
    assert (flags.config, answers) == ("config.yaml", None)
    assert capsys.readouterr().out == "Serving config.yaml of this folder.\n"


def test_what_was_named_is_what_is_served(folder: Path) -> None:
    Path("config.yaml").write_text("model_list: []\n")
    for named in (Flags(model="gpt-4o"), Flags(config="other.yaml")):
        assert here(named, yes=False, typed=True) == (named, None)
        with pytest.raises(Refused, match="--yes answers the questions") as refused:
            here(named, yes=True, typed=True)
        assert refused.value.exit_code == 2


def test_a_file_by_another_name_is_pointed_at(folder: Path) -> None:
    Path("litellm_config.yaml").touch()
    with pytest.raises(Refused, match=r"tollway --config litellm_config\.yaml"):
        here(Flags(), yes=False, typed=False)


def test_models_may_be_in_a_database_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/tollway")
    assert here(Flags(), yes=False, typed=False) == (Flags(), None)


def test_without_a_terminal_a_bare_start_ends_with_code_2_and_one_line(start: Start, folder: Path) -> None:
    running = start()
    assert running.ends() == 2
    (line,) = running.rest()
    assert line.startswith("tollway: there is no config.yaml here and nobody to ask: name a file (--config)")
    assert "--yes" in line


def test_without_a_terminal_a_start_that_says_something_goes_on_without_models(start: Start) -> None:
    running = start("--port", str(free_port()))
    assert "none yet" in running.wait_for("Models ")


# --- when it serves


def test_the_greeting_has_a_link_and_after_a_first_start_a_key_with_a_call(
    gateway: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    link = f"{gateway.url}/ui/sign-in?once=t"
    gateway.answers["POST", "/ui/api/session/link"] = (200, {"url": link, "expires_in_s": 300})
    greet(gateway.url, "sk-master", None)
    said = capsys.readouterr().out
    assert said == f"\n  Dashboard  {link}\n             (signs you in, once, within 5 minutes)\n"
    assert gateway.keys == {"Bearer sk-master"}

    greet(gateway.url, "sk-master", Answers((OPENAI, LOCAL), None, True))
    said = capsys.readouterr().out
    assert '-H "Authorization: Bearer sk-new"' in said
    assert '"model": "smollm2"' in said, "the model that costs nothing is called first"
    assert gateway.seen[-1] == ("POST", "/key/generate", {"key_alias": "first-steps"})


def test_a_greeting_that_fails_is_one_line_on_stderr_and_no_end_of_the_gateway(
    gateway: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    greet(gateway.url, "sk-master", None)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "tollway: the gateway says 404: Not Found\n")


def test_the_configuration_of_the_folder_names_the_key_to_ask_with(folder: Path) -> None:
    from tollway.cli.gateway_client import find_key

    Path("config.yaml").write_text("general_settings: {master_key: sk-of-the-folder}\n")
    assert find_key(key_file=None, config_path=None) == "sk-of-the-folder"


def test_nothing_is_offered_for_an_empty_environment_but_what_the_machine_has() -> None:
    assert [offer.provider for offer in offers_of(Config(), {})] == ["local"]
