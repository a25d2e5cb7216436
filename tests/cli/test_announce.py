"""What the gateway says when it has started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.app import Prepared
from tollway.calls import Secret
from tollway.cli.announce import announcement
from tollway.config.settings import Config


def said(
    *, host: str = "127.0.0.1", warnings: tuple[str, ...] = (), config_warnings: tuple[str, ...] = (), **found: Any
) -> str:
    prepared = Prepared(
        **{
            "config": Config(),
            "data_path": Path("/d/tollway.db"),
            "bodies_path": None,
            "master_key_made": None,
            "master_key_path": None,
            "models": ("gpt-4o",),
            "warnings": config_warnings,
            **found,
        }
    )
    return announcement(prepared, host=host, port=4000, tls=False, warnings=warnings)


def test_a_master_key_is_shown_with_its_file_when_it_was_made_just_now_and_never_again() -> None:
    path = Path("/d/tollway-master-key")
    assert "  sk-made" in said(master_key_made=Secret("sk-made"), master_key_path=path)
    later = said(master_key_path=path, config=Config())
    assert "sk-made" not in later
    assert "$(cat /d/tollway-master-key)" in later


def test_the_pages_for_people_are_told() -> None:
    assert "  Pages    http://127.0.0.1:4000/ui (sign in with the master key), http://127.0.0.1:4000/docs" in said()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("environment LITELLM_MASTER_KEY", "$LITELLM_MASTER_KEY"),
        ("config.yaml:9 (environment MY_KEY)", "$MY_KEY"),
        ("config.yaml:9", "YOUR_MASTER_KEY"),
    ],
)
def test_a_master_key_of_the_person_is_named_by_its_variable_if_it_has_one(source: str, shown: str) -> None:
    assert f'"Authorization: Bearer {shown}"' in said(config=Config(sources={"access.master_key": source}))


def test_url_models_data_and_bodies_each_have_a_line() -> None:
    text = said(bodies_path=Path("/d/bodies"))
    assert "  Serving  http://127.0.0.1:4000\n" in text
    assert "  Models   gpt-4o\n" in text
    assert "  Data     /d/tollway.db\n" in text
    assert "  Bodies   /d/bodies\n" in text
    assert "  Bodies   not stored" in said()


def test_listening_to_everybody_is_said() -> None:
    assert "http://localhost:4000 and every other address of this machine" in said(host="0.0.0.0")


def test_it_fits_one_screen_however_many_models_there_are() -> None:
    text = said(models=tuple(f"model-{n}" for n in range(400)))
    assert "model-11 and 388 more" in text
    assert len(text.splitlines()) < 24
    assert "none yet" in said(models=())


def test_warnings_come_last_those_of_the_configuration_first() -> None:
    text = said(config_warnings=("of the configuration",), warnings=("of the command",))
    assert text.endswith("  warning: of the configuration\n  warning: of the command")


def test_where_a_key_is_made_and_told_below_it_the_line_that_makes_one_is_left_out() -> None:
    prepared = Prepared(
        config=Config(),
        data_path="/d/tollway.db",
        bodies_path=None,
        master_key_made=None,
        master_key_path=None,
        models=(),
        warnings=("look here",),
    )
    text = announcement(prepared, host="127.0.0.1", port=4000, tls=False, warnings=(), greeted=True)
    assert "Make a key" not in text
    assert text.endswith("  warning: look here")
