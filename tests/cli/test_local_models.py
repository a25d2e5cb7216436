"""Local models: children that are started, asked with their token, started again, and never left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.cli import local_models
from tollway.cli.local_models import HoldUntilLoaded, LocalAddress, LocalModels, finder, local_names
from tollway.cli.model_files import SMOLLM2, model_file, models_dir
from tollway.config.settings import BoundSettings, Config, ModelEntry

from .conftest import STAND_INS, ask, gone, until


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]) -> Iterator[LocalModels]:
    """One local model whose child runs a stand-in for llama.cpp."""
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    path = tmp_path / "fake.gguf"
    path.touch()
    models = LocalModels([str(path)], said.append)
    yield models
    models.stop()


def asked(models: LocalModels, token: str | None = None) -> dict[str, Any]:
    (address,) = models.addresses.values()
    return ask(address.port, "POST", headers={"authorization": f"Bearer {token or address.token}"})


def healthy(models: LocalModels) -> bool:
    (address,) = models.addresses.values()
    try:
        return bool(ask(address.port, path="/health")["status"] == "ok")  # the body's own, not HTTP's
    except OSError:
        return False


def test_a_model_answers_at_its_address_with_its_token_and_to_nobody_else(models: LocalModels, tmp_path: Path) -> None:
    models.start()
    until(lambda: healthy(models))
    assert asked(models) == {"status": 200, "path": str(tmp_path / "fake.gguf"), "pid": asked(models)["pid"]}
    assert asked(models, "another")["status"] == 401
    (address,) = models.addresses.values()
    assert len(address.token) >= 32


def test_a_child_that_dies_comes_back_at_the_same_address(models: LocalModels, said: list[str]) -> None:
    models.start()
    until(lambda: healthy(models))
    before, address = asked(models)["pid"], dict(models.addresses)
    os.kill(before, signal.SIGKILL)
    until(lambda: gone(before) and healthy(models))
    assert asked(models)["pid"] != before
    assert models.addresses == address
    assert any("starting it again" in line for line in said)


def test_a_child_that_keeps_dying_is_left_alone_and_its_address_is_taken_back(
    models: LocalModels, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODEL_FAILS", "1")
    models.start()
    until(lambda: bool(said) and said[-1].endswith("ended 5 times within a minute; it is not started again"))
    assert models.addresses == {}


def test_stop_ends_the_child(models: LocalModels) -> None:
    models.start()
    until(lambda: healthy(models))
    pid = asked(models)["pid"]
    models.stop()
    assert gone(pid)


def test_without_llama_cpp_and_without_its_file_a_model_is_one_line_of_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lacking = LocalModels(["smollm2"], print)
    assert lacking.problems == ["local/smollm2 needs llama.cpp: install tollway[local]"]
    assert lacking.addresses == {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    (problem,) = LocalModels(["smollm2"], print).problems
    assert problem.endswith("run `tollway models pull smollm2`")


def test_only_local_entries_without_an_address_of_their_own_are_run() -> None:
    entries = (
        ModelEntry(model_name="a", provider_model="local/smollm2"),
        ModelEntry(model_name="b", provider_model="local//m/x.gguf"),
        ModelEntry(model_name="c", provider_model="local/elsewhere", api_base="http://127.0.0.1:8080/v1"),
        ModelEntry(model_name="d", provider_model="openai/gpt-4o"),
    )
    assert local_names(Config(models=entries)) == ["smollm2", "/m/x.gguf"]


def test_a_snapshot_finds_base_url_and_token_by_name() -> None:
    find = finder({"smollm2": LocalAddress(4321, "t")})
    assert find("smollm2") == ("http://127.0.0.1:4321/v1", Secret("t"))
    assert find("other") is None


class Answering:
    """An app that notes what reaches it."""

    bounds = BoundSettings()

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["method"])


async def test_a_post_waits_until_the_model_is_loaded_and_a_get_does_not(models: LocalModels) -> None:
    import asyncio

    app = Answering()
    held = HoldUntilLoaded(app, models.addresses)
    post = asyncio.create_task(held({"type": "http", "method": "POST"}, None, None))
    await held({"type": "http", "method": "GET"}, None, None)
    assert app.reached == ["GET"]
    assert not post.done()
    models.start()
    async with asyncio.timeout(60):
        await post
    assert app.reached == ["GET", "POST"]
    models.stop()
    await held({"type": "http", "method": "POST"}, None, None)
    assert len(app.reached) == 3


async def test_a_post_waits_no_longer_than_the_bound(models: LocalModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_models, "LOAD_S_MAX", 0.1)
    app = Answering()
    await HoldUntilLoaded(app, models.addresses)({"type": "http", "method": "POST"}, None, None)
    assert app.reached == ["POST"]


def test_the_child_ends_with_its_stdin_even_before_it_was_told_anything() -> None:
    child = subprocess.Popen([sys.executable, "-m", "tollway.cli.local_model"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the extra `local`")
def test_the_real_model_answers_and_ends_with_its_gateway() -> None:
    real = models_dir() / SMOLLM2.file_name
    if not real.is_file():
        pytest.skip("run `tollway models pull smollm2` first")
    models = LocalModels(["smollm2"], print)
    assert models.problems == []
    models.start()
    try:
        until(lambda: healthy(models))
        address = models.addresses["smollm2"]
        request = urllib.request.Request(
            address.base_url + "/chat/completions",
            data=json.dumps({"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 8}).encode(),
            headers={"authorization": f"Bearer {address.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            told = json.loads(answer.read())
    finally:
        models.stop()
    assert told["choices"][0]["message"]["content"]
    assert told["usage"]["completion_tokens"] >= 1
    assert model_file("smollm2") == real
    assert threading.active_count() < 10
