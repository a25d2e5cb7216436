"""The process's own log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from tollway.cli.logs import set_up_logs
from tollway.config.settings import LogSettings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "uvicorn.error", "asyncio", "aiosqlite")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def test_lines_are_text_on_stderr_from_the_configured_level_up(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogSettings(level="INFO"))
    logging.getLogger("tollway").debug("unseen")
    logging.getLogger("tollway").info("seen")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith(" INFO tollway: seen\n")
    assert "unseen" not in said.err


def test_json_logs_are_one_object_a_line_stack_included(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogSettings(level="info", json=True))
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("tollway").exception("it %s", "broke")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["level"], told["component"], told["message"]) == ("ERROR", "tollway", "it broke")
    assert "ValueError: why" in told["stacktrace"]
    assert told["timestamp"].endswith("+00:00")


def test_the_servers_chatter_is_kept_down_even_in_debug(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogSettings(level="DEBUG"))
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("a warning")
    assert "Started" not in (err := capsys.readouterr().err)
    assert "a warning" in err
