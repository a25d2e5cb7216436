from __future__ import annotations

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tollway import compiled


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `tollway.calls` was compiled of what stands there."""
    source = tmp_path / "src"
    (source / "tollway").mkdir(parents=True)
    (source / "tollway" / "calls.py").write_text("")
    folder = compiled.folder_of(tmp_path)
    folder.mkdir(parents=True)
    (folder / compiled.STAMP).write_text(compiled.stamp_of(source, ["tollway/calls.py"]))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delenv("TOLLWAY_COMPILED", raising=False)
    return tmp_path


def finders() -> list[object]:
    return [finder for finder in sys.meta_path if isinstance(finder, compiled.CheckoutFinder)]


def test_what_was_compiled_of_these_sources_is_found_before_them(checkout: Path) -> None:
    before = len(finders())
    compiled.take_from_checkout(checkout / "src" / "tollway")
    assert len(finders()) == before + 1
    found = sys.meta_path[0].find_spec("tollway.calls", None)
    assert found is not None
    assert str(found.origin).endswith(f"tollway/calls{EXTENSION_SUFFIXES[0]}")
    assert sys.meta_path[0].find_spec("tollway.errors", None) is None


def test_what_was_compiled_of_other_sources_is_not_taken(checkout: Path) -> None:
    before = len(finders())
    (checkout / "src" / "tollway" / "calls.py").write_text("edited = True")
    compiled.take_from_checkout(checkout / "src" / "tollway")
    assert len(finders()) == before


def test_a_checkout_can_be_told_to_run_python(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(finders())
    monkeypatch.setenv("TOLLWAY_COMPILED", "0")
    compiled.take_from_checkout(checkout / "src" / "tollway")
    assert len(finders()) == before


def test_what_mypyc_would_pass_over_in_silence_is_nowhere() -> None:
    root = Path(__file__).resolve().parents[1]
    asked = "import hatch_compile; print(hatch_compile.check())"
    said = subprocess.run([sys.executable, "-c", asked], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
