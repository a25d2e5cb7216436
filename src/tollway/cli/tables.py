"""Answers as people read them: tables that fit the terminal, money and numbers in columns, colours where somebody sees them.

Into a pipe a table goes as wide as it is, without colours, so that `grep` finds whole lines; COLUMNS bounds it there, too.
"""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

GAP = "  "
#: A column that must give way is left so wide, or as wide as its heading.
WIDTH_MIN = 8
#: Of a terminal that says nothing sensible.
TERMINAL_WIDTH_MIN = 40

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_COLOURS = {"red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m", "grey": "\x1b[2m"}


class Coloured(str):
    """Text that has a colour where colours are shown."""

    __slots__ = ("colour",)
    colour: str

    def __new__(cls, text: str, colour: str) -> Coloured:
        made = super().__new__(cls, text)
        made.colour = colour
        return made


def shows_colours(stream: Any = None) -> bool:
    """Whether a person looks, who did not say no (https://no-color.org, 2026-11-22)."""
    stream = stream or sys.stdout
    return bool(stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def coloured(text: str, colour: str, *, stream: Any = None) -> str:
    return f"{_COLOURS[colour]}{text}{_PLAIN}" if shows_colours(stream) else text


def width_of_terminal() -> int | None:
    """How many characters a line may have; None: as many as it takes."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return max(TERMINAL_WIDTH_MIN, int(asked))
    if not sys.stdout.isatty():
        return None
    try:
        return max(TERMINAL_WIDTH_MIN, os.get_terminal_size(sys.stdout.fileno()).columns)
    except OSError:
        return None


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """A table on stdout. Columns named in `numbers` stand to the right, their points below each other; columns in which nothing
    stands are left out, and where the terminal is too narrow the widest texts are folded.
    """
    cells = [["" if cell is None else cell if isinstance(cell, str) else str(cell) for cell in row] for row in rows]
    kept = [at for at in range(len(columns)) if not cells or any(row[at] for row in cells)]
    right = {at for at in kept if columns[at] in numbers}
    texts = {at: [row[at] for row in cells] for at in kept}
    for at in right:
        texts[at] = _with_points_aligned(texts[at])
    widths = {at: max(map(cells_of, (columns[at], *texts[at]))) for at in kept}
    _fit(widths, {at: cells_of(columns[at]) for at in kept}, right, width_of_terminal())
    lines = [] if not any(columns) else [_line([[columns[at]] for at in kept], kept, widths, right, bold=True)]
    for number in range(len(cells)):
        folded = [_folded(texts[at][number], widths[at]) for at in kept]
        colours = [getattr(cells[number][at], "colour", None) for at in kept]
        lines.append(_line(folded, kept, widths, right, colours=colours))
    sys.stdout.write("".join(lines))


def show_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """What is known of one thing: a line for each fact that is one."""
    show_table(("", ""), [(name, value) for name, value in facts if value not in (None, "", [], {}, ())])


def cells_of(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _with_points_aligned(texts: list[str]) -> list[str]:
    """Numbers padded so that they may be set to the right: "$3.00" and "$0.000012" have their points in one place."""
    after = [len(text) - text.rindex(".") if _is_fraction(text) else 0 for text in texts]
    longest = max(after, default=0)
    return [
        text + " " * (longest - length if any(letter.isdigit() for letter in text) else 0)
        for text, length in zip(texts, after, strict=True)
    ]


def _is_fraction(text: str) -> bool:
    return "." in text and text.rpartition(".")[2].isdecimal()


def _fit(widths: dict[int, int], headings: dict[int, int], right: set[int], width: int | None) -> None:
    """Takes from the widest text column until all fit, or none gives any more."""
    if width is None:
        return
    while sum(widths.values()) + len(GAP) * (len(widths) - 1) > width:
        giving = [at for at in widths if at not in right and widths[at] > max(WIDTH_MIN, headings[at])]
        if not giving:
            return
        widths[max(giving, key=lambda at: widths[at])] -= 1


def _folded(text: str, width: int) -> list[str]:
    if cells_of(text) <= width:
        return [text]
    return textwrap.wrap(text, max(1, width), break_on_hyphens=False) or [""]


def _line(
    folded: list[list[str]],
    kept: list[int],
    widths: dict[int, int],
    right: set[int],
    *,
    bold: bool = False,
    colours: Sequence[str | None] = (),
) -> str:
    shows = shows_colours()
    written = []
    for number in range(max(map(len, folded))):
        parts = []
        for place, (at, texts) in enumerate(zip(kept, folded, strict=True)):
            text = texts[number] if number < len(texts) else ""
            padding = " " * (widths[at] - cells_of(text))
            colour = colours[place] if place < len(colours) else None
            if shows and text and (bold or colour):
                text = f"{_BOLD if bold else _COLOURS[colour or 'grey']}{text}{_PLAIN}"
            parts.append(padding + text if at in right else text + padding)
        written.append(GAP.join(parts).rstrip() + "\n")
    return "".join(written)


# --- what stands in them


def dollars(amount: float | None) -> str:
    """Dollars as people read them; small sums keep the digits that say something."""
    if amount is None:
        return "no limit"
    if abs(amount) >= 1 or amount == round(amount, 2):
        return f"${amount:,.2f}"
    return f"${amount:.6f}" if abs(amount) >= 1e-6 else f"${amount:.9f}"


def whole(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def share(part: float, of: float) -> str:
    return f"{100 * part / of:.0f}%" if of else ""


def moment(written: str | None) -> str:
    """A moment of the API's ("2026-11-22T10:00:00Z") as people read it, UTC, to the minute."""
    if not written:
        return ""
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return written
    return f"{found.astimezone(UTC) if found.tzinfo else found:%Y-%m-%d %H:%M}"


def listed(names: Sequence[Any] | None, otherwise: str = "") -> str:
    return ", ".join(map(str, names)) if names else otherwise
