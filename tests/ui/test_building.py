"""What builds the dashboard: only when its sources changed, and never in the way of an installation."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook, in front of a checkout of its own whose tools are scripted."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    ui = tmp_path / "ui"
    (ui / "src" / "api").mkdir(parents=True)
    for name in hook.SOURCES[1:]:
        (ui / name).write_text("{}")
    (ui / "src" / "main.tsx").write_text("first")
    monkeypatch.setattr(hook, "UI", ui)
    monkeypatch.setattr(hook, "BUILT", tmp_path / "package" / "built")
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(hook, "find_node", lambda: (Path("node"), ["npm"]))
    ran: list[str] = []

    def run(command: list[str], *, cwd: Path, environment: dict[str, str]) -> None:
        ran.append(" ".join(command[:2]))
        if command[0] == "node":
            out = Path(environment["TOLLWAY_UI_OUT"])
            out.mkdir()
            (out / "index.html").write_text((cwd / "src" / "main.tsx").read_text())

    monkeypatch.setattr(hook, "_run", run)
    monkeypatch.setattr(hook, "ran", ran, raising=False)
    return hook


def test_it_builds_when_the_sources_changed_and_only_then(hook: ModuleType) -> None:
    assert hook.build() is True
    assert (hook.BUILT / "index.html").read_text() == "first"
    assert hook.build() is False
    (hook.UI / "src" / "api" / "schema.d.ts").write_text("types are made, and part of nothing")
    assert hook.build() is False
    (hook.UI / "src" / "main.tsx").write_text("second")
    assert hook.build() is True
    assert (hook.BUILT / "index.html").read_text() == "second"
    assert hook.ran == ["npm ci", "node node_modules/vite/bin/vite.js"] * 2


def test_a_build_that_fails_leaves_what_was_there(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    hook.build()
    (hook.UI / "src" / "main.tsx").write_text("broken")

    def fail(*_: Any, **__: Any) -> None:
        raise hook.BuildFailed("no network")

    monkeypatch.setattr(hook, "_run", fail)
    with pytest.raises(hook.BuildFailed):
        hook.build()
    assert (hook.BUILT / "index.html").read_text() == "first"
    assert not (hook.UI / ".building").exists()


@pytest.mark.parametrize("error", [OSError("no disk"), subprocess.SubprocessError("no node"), ValueError("a bug")])
def test_nothing_that_goes_wrong_stops_an_installation(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(hook, "build", fail)
    hook.CustomBuildHook.initialize(object(), "editable", {})
    assert "make ui" in capsys.readouterr().err


def test_it_can_be_left_out(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLWAY_BUILD_UI", "0")
    hook.CustomBuildHook.initialize(object(), "editable", {})
    assert hook.ran == []


def test_a_package_without_the_sources_is_left_as_it_is(hook: ModuleType) -> None:
    (hook.UI / "package.json").unlink()
    assert hook.build() is False


def test_a_lock_that_a_killed_build_left_behind_is_taken_over(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hook.UI / ".building").touch()
    monkeypatch.setattr(hook, "LOCK_S_MAX", -1)
    assert hook.build() is True


@pytest.mark.e2e
def test_the_pages_keep_to_the_gateways_schema() -> None:
    """TypeScript's compiler on every page, with types made of the schema just now."""
    command = [sys.executable, str(ROOT / "scripts" / "check_ui.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
