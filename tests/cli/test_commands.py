"""Commands are imported when they are typed, and all of them are on their page with all their flags."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tollway.cli.commands import MODULES
from tollway.cli.completion import places

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
_CODE = re.compile(r"`([^`]+)`")


def table_rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def common() -> set[str]:
    return {name for row in table_rows() if row[0].startswith("`-") for name in _CODE.findall(row[0])}


def documented() -> dict[str, set[str]]:
    """Each command of the page with the flags in its row."""
    rows = [row for row in table_rows() if row[0].startswith("`tollway ")]
    words = {row[0]: row[0].strip("`").split()[1:] for row in rows}
    return {" ".join(word for word in words[row[0]] if word.islower()): set(_CODE.findall(row[2])) for row in rows}


def test_every_command_is_on_the_page_and_every_command_of_the_page_exists() -> None:
    known = {place.path for place in places() if place.path and not place.commands}
    assert set(documented()) == known


def test_every_flag_of_a_command_is_in_its_row_and_every_flag_of_a_row_exists() -> None:
    told, alike = documented(), common()
    for place in places():
        if place.path in told:
            known = {name for flag in place.flags for name in flag.names}
            assert told[place.path] == known - alike, place.path


def test_a_start_of_the_gateway_imports_no_command_but_those_that_are_typed() -> None:
    looked = (
        "import sys; sys.argv = ['tollway', 'version']\n"
        "from tollway.cli import main\n"
        "try: main.run()\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.argv[1:] or () if name in sys.modules])\n"
        f"print([name for name in {sorted(MODULES.values())!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_what_is_bare_behind_spend_is_the_report() -> None:
    from typer.main import get_command

    from tollway.cli.main import app

    group = get_command(app).commands["spend"]  # type: ignore[attr-defined]  # it is a group
    assert list(group.commands) == ["report", "top", "tail"]
