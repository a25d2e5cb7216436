"""Where `local/<name>` points."""

from __future__ import annotations

from pathlib import Path

import pytest

from tollway.cli.model_files import SMOLLM2, ModelFileMissing, model_file, models_dir


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "tollway" / "models"
    folder.mkdir(parents=True)
    return folder


def test_files_lie_in_the_data_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_dir() == folder
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert models_dir() == Path("/home/me/.local/share/tollway/models")


def test_a_name_is_a_pulled_model_a_file_of_the_folder_or_a_path(folder: Path, tmp_path: Path) -> None:
    for path in (folder / SMOLLM2.file_name, folder / "mine.gguf", tmp_path / "own.gguf"):
        path.touch()
    assert model_file("smollm2") == folder / SMOLLM2.file_name
    assert model_file("mine") == folder / "mine.gguf"
    assert model_file(str(tmp_path / "own.gguf")) == tmp_path / "own.gguf"


@pytest.mark.parametrize(
    ("name", "part"),
    [("smollm2", "run `tollway models pull smollm2`"), ("none", "local/<path>.gguf"), ("/no/x.gguf", "/no/x.gguf is")],
)
def test_a_file_that_is_not_there_says_what_to_do(folder: Path, name: str, part: str) -> None:
    with pytest.raises(ModelFileMissing) as missing:
        model_file(name)
    assert part in str(missing.value)
    assert "\n" not in str(missing.value)
