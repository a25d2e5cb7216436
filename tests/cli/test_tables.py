"""Tables: they fit, money stands in columns, colours are for people who look."""

from __future__ import annotations

import io
import os
import sys

import pytest

from tollway.cli import tables
from tollway.cli.tables import Coloured, cells_of, dollars, moment, share, show_facts, show_table, shows_colours


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a terminal of 60 columns, from now on."""
    written = io.StringIO()
    written.isatty = lambda: True  # type: ignore[method-assign]  # plays a terminal
    written.fileno = lambda: 1  # type: ignore[method-assign]  # the same
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((60, 24)))
    return written


def test_numbers_stand_to_the_right_with_their_points_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", "$1,234.00", "12,345"), ("longer", "$0.000012", "7"), ("b", "no limit", "")]
    show_table(("KEY", "SPENT", "TOKENS"), rows, numbers=("SPENT", "TOKENS"))
    assert capsys.readouterr().out == (
        "KEY             SPENT  TOKENS\n"
        "a       $1,234.00      12,345\n"
        "longer      $0.000012       7\n"
        "b            no limit\n"
    )


def test_a_column_in_which_nothing_stands_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("A", "B", "C"), [("1", "", "x"), ("2", None, "")])
    assert capsys.readouterr().out == "A  C\n1  x\n2\n"
    show_table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_a_terminal_that_is_too_narrow_folds_the_widest_text_and_never_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = terminal(monkeypatch)
    models = ", ".join(f"model-{number}" for number in range(12))
    show_table(("KEY", "SPENT", "MODELS"), [("agent", "$12.00", models)], numbers=("SPENT",))
    lines = written.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)
    assert lines[1].startswith("agent  $12.00  model-0, model-1")
    words = " ".join(" ".join(line.split()) for line in lines)
    assert all(f"model-{number}" in words for number in range(12))


def test_a_pipe_gets_whole_lines_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("A", "B"), [("x" * 300, Coloured("blocked", "red"))])
    _, row = capsys.readouterr().out.splitlines()
    assert row == "x" * 300 + "  blocked"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_for_a_terminal_whose_person_wants_them(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    written = terminal(monkeypatch)
    assert shows_colours()
    show_table(("STATE",), [(Coloured("blocked", "red"),)])
    assert written.getvalue() == "\x1b[1mSTATE\x1b[0m\n\x1b[31mblocked\x1b[0m\n"
    monkeypatch.setenv(name, value)
    assert not shows_colours()


def test_columns_bounds_a_pipe_too_and_nonsense_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert tables.width_of_terminal() is None
    for written, width in (("90", 90), ("7", 40), ("wide", None), ("0", None)):
        monkeypatch.setenv("COLUMNS", written)
        assert tables.width_of_terminal() == width


def test_wide_letters_take_two_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert [cells_of(text) for text in ("abc", "日本", "é", "e\u0301")] == [3, 4, 1, 1]
    show_table(("KEY", "N"), [("日本", "1"), ("ab", "2")])
    assert capsys.readouterr().out == "KEY   N\n日本  1\nab    2\n"


def test_facts_that_are_none_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts([("alias", "a"), ("team", None), ("models", []), ("blocked", False), ("spend", 0.0)])
    assert capsys.readouterr().out == "alias    a\nblocked  False\nspend    0.0\n"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "no limit"), (0, "$0.00"), (0.5, "$0.50"), (12.5, "$12.50"), (0.0123, "$0.012300"), (2e-8, "$0.000000020")],
)
def test_small_sums_keep_the_digits_that_say_something(amount: float | None, text: str) -> None:
    assert dollars(amount) == text


def test_moments_and_shares_read_well() -> None:
    assert moment("2026-11-22T10:30:59.123Z") == "2026-11-22 10:30"
    assert moment("2026-11-22T12:30:00+02:00") == "2026-11-22 10:30"
    assert (moment(None), moment("someday")) == ("", "someday")
    assert (share(1, 3), share(1, 0)) == ("33%", "")
