"""`tollway models`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tollway.cli import main, package_index
from tollway.cli.model_files import SMOLLM2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "tollway" / "models"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tollway", "models", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


def test_the_list_shows_what_can_be_pulled_and_what_lies_there(
    command: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("list") == 0
    assert "`tollway models pull smollm2` fetches 93 MiB" in capsys.readouterr().out
    folder.mkdir(parents=True)
    (folder / SMOLLM2.file_name).touch()
    (folder / "mine.gguf").touch()
    assert command("list") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("local/smollm2 ")
    assert first.endswith(str(folder / SMOLLM2.file_name))
    assert second == f"local/mine  {folder / 'mine.gguf'}"


@pytest.mark.parametrize("name", ["smollm2", "local/smollm2"])
def test_pull_fetches_into_the_models_folder_and_says_how_to_start(
    command: Callable[..., int],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    asked: list[Any] = []

    def pull(model: Any, into: Path, *, say: Any, progress: Any) -> Path:
        asked.append((model, into))
        progress(1, 2)
        return into / model.file_name

    monkeypatch.setattr(package_index, "pull", pull)
    assert command("pull", name) == 0
    assert asked == [(SMOLLM2, folder)]
    assert capsys.readouterr().out == "start it with: tollway --model local/smollm2\n"


def test_a_model_that_nobody_can_pull_is_named(
    command: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pull", "gpt-9") == 2
    assert "'gpt-9'" in capsys.readouterr().err
