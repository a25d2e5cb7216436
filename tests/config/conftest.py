"""A directory of its own for each test, with `config.yaml` in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tollway.config import Config, load
from tollway.errors import ConfigError

Reads = Callable[..., Config]
Refuses = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write() -> Callable[[str, str], None]:
    def write_file(text: str, name: str = "config.yaml") -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(dedent(text), encoding="utf-8")

    return write_file


@pytest.fixture
def read(write: Callable[[str, str], None]) -> Reads:
    """Reads this text as config.yaml."""

    def read_text(text: str, environ: Mapping[str, str] | None = None, **others: Any) -> Config:
        write(text, "config.yaml")
        return load("config.yaml", environ=environ or {}, **others)

    return read_text


@pytest.fixture
def problems(read: Reads) -> Refuses:
    """The problems of this text; fails if it has none."""

    def problems_of(text: str, environ: Mapping[str, str] | None = None, **others: Any) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            read(text, environ, **others)
        return refused.value.problems

    return problems_of
