"""The first five minutes (`docs/first-steps.md`): an empty folder, three questions, an answered call, in a real terminal.

What the terminal showed is what the page shows: `TOLLWAY_WRITE_TRANSCRIPT=1` writes it there anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollway.testing.machine import slowness

from .gateway import TOLLWAY
from .installed import ROOT
from .processes import STOP_S_MAX, free_port

PAGE = ROOT / "docs" / "first-steps.md"
#: From the first word typed to the first answer read, with the model fetched; both on a quiet machine.
FIRST_ANSWER_S_MAX = 60.0
SECOND_START_S_MAX = 10.0
STEP_S_MAX = 120.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A person's terminal of 110 columns with one command in it."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.seen = ""
        self._looked = 0
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, environment)

    def wait_for(self, pattern: str, s_max: float = STEP_S_MAX) -> re.Match[str]:
        """What came since the last thing that was waited for, up to the pattern."""
        deadline = time.monotonic() + s_max
        while True:
            found = re.compile(pattern).search(self.seen, self._looked)
            if found:
                self._looked = found.end()
                return found
            assert time.monotonic() < deadline, f"no {pattern!r} within {s_max:.0f} s:\n{self.seen}"
            assert self._read(), f"it ended without {pattern!r}:\n{self.seen}"

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 0.2)[0]:
            return True
        try:
            piece = os.read(self._fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += _ESCAPES.sub("", piece.decode(errors="replace")).replace("\r\n", "\n")
        return bool(piece)

    def ends(self) -> int:
        """Presses Ctrl-C and returns the exit code."""
        self.type("\x03")
        deadline = time.monotonic() + STOP_S_MAX
        while time.monotonic() < deadline:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._fd)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"Ctrl-C did not end it within {STOP_S_MAX:.0f} s:\n{self.seen}")

    def kill(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._fd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway").mkdir()
    return tmp_path / "gateway"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a person who has no provider's key. Where packages come from is the machine's own affair."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith(("PIP_", "UV_"))}
    return kept | {
        "HOME": os.environ["HOME"],  # pip's own settings may be there
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "TERM": "xterm",
        "COLUMNS": "110",
        "PORT": str(free_port()),
        "PIP_PROGRESS_BAR": "off",
    }


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.kill()


@pytest.mark.slow
def test_an_empty_folder_becomes_a_gateway_that_answers_within_a_minute(
    folder: Path, environment: dict[str, str], terminals: list[Terminal]
) -> None:
    began = time.monotonic()
    terminal = Terminal([str(TOLLWAY)], folder, environment)
    terminals.append(terminal)
    for question in (r"Numbers, with commas \[1\]: $", r"in a month\? \[no limit\]: $", r"\[Y/n\]: $"):
        terminal.wait_for(question)
        terminal.type("\n")
    link = terminal.wait_for(r"Dashboard +(http\S+)", 5 * FIRST_ANSWER_S_MAX)[1]
    curl = terminal.wait_for(r"(?s)\n(curl .*?\}')\n")[1]
    answer = pasted(curl, environment)
    took_s = time.monotonic() - began
    assert answer["choices"][0]["message"]["content"], answer
    assert answer["model"] == "smollm2"
    assert took_s < FIRST_ANSWER_S_MAX * slowness()

    signs_in_once(link)
    keys = httpx.get(f"http://127.0.0.1:{environment['PORT']}/key/list?return_full_object=true", headers=master(folder))
    assert [key["key_alias"] for key in keys.json()["keys"]] == ["first-steps"]
    transcript(terminal.seen, curl, answer, folder, environment["PORT"])
    assert terminal.ends() == 0


def pasted(curl: str, environment: dict[str, str]) -> dict[str, Any]:
    """What the line answers when it is typed into a shell as it stands."""
    done = subprocess.run(
        ["bash", "-c", curl], env=environment, capture_output=True, text=True, timeout=STEP_S_MAX, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def master(folder: Path) -> dict[str, str]:
    return {"authorization": "Bearer " + (folder / "tollway-master-key").read_text().strip()}


def signs_in_once(link: str) -> None:
    """The page behind the link is there, and what it sends opens a session, the first time alone."""
    assert "text/html" in httpx.get(link).headers["content-type"]
    base, _, token = link.partition("/ui/sign-in?once=")
    for opened in (True, False):
        with httpx.Client(base_url=base, headers={"origin": base}) as browser:
            answer = browser.post("/ui/api/session", json={"once": token})
            assert (answer.status_code == 200) is opened, answer.text
            assert browser.get("/ui/api/session").json()["signed_in"] is opened


@pytest.mark.slow
def test_the_second_start_asks_nothing_and_changes_nothing(
    folder: Path, environment: dict[str, str], terminals: list[Terminal]
) -> None:
    written = "model_list:\n  - model_name: mine\n    litellm_params: {model: openai/gpt-4o, api_key: sk-none}\n"
    (folder / "config.yaml").write_text(written)
    for _ in range(2):
        began = time.monotonic()
        terminal = Terminal([str(TOLLWAY)], folder, environment)
        terminals.append(terminal)
        terminal.wait_for("Serving config.yaml of this folder.")
        terminal.wait_for(r"Serving  http://127\.0\.0\.1:\d+")
        took_s = time.monotonic() - began
        assert took_s < SECOND_START_S_MAX * slowness()
        terminal.wait_for(r"Dashboard +http\S+once=")
        assert "curl" not in terminal.seen
        assert terminal.ends() == 0
    assert (folder / "config.yaml").read_text() == written


# --- the page


def transcript(seen: str, curl: str, answer: dict[str, Any], folder: Path, port: str) -> None:
    """Holds the page to what the terminal showed, or writes it there."""
    told = re.sub(r"(?s)(\[Y/n\]: \n).*?(smollm2 is ready)", r"\1...\n\2", seen)  # what the installer says is its own
    shown = f"$ tollway\n{told[: told.index(curl)]}{curl}\n"
    for text, instead in ((str(folder), "~/gateway"), (str(folder.parent / "share"), "~/.local/share"), (port, "4000")):
        shown = shown.replace(text, instead)
    said = json.dumps({"model": answer["model"], "choices": answer["choices"]}, ensure_ascii=False)
    asked = f"$ {curl.replace(port, '4000')}\n{said.removesuffix('}')}, ...}}\n"
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("TOLLWAY_WRITE_TRANSCRIPT"):
        for name, text in (("first start", shown), ("first call", asked)):
            block = f"<!-- {name} -->\n```console\n{masked(text)}```\n"
            page = re.sub(rf"(?s)<!-- {name} -->\n```console\n.*?```\n", lambda _, block=block: block, page)
        PAGE.write_text(page, encoding="utf-8")
    blocks = dict(re.findall(r"(?s)<!-- ([\w ]+) -->\n```console\n(.*?)```\n", page))
    assert unlike(blocks["first start"]) == unlike(shown)
    assert unlike(blocks["first call"]) == unlike(asked)


def masked(text: str) -> str:
    """Without what opens a door, also after that gateway is gone."""
    text = re.sub(r"once=[\w.-]+", "once=Yz3h...kQ", text)
    text = re.sub(r"\bsk-[\w-]{8}[\w-]+", "sk-nL0c...4w", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def unlike(text: str) -> str:
    """Without what differs from run to run."""
    text = masked(text).replace("\n\n", "\n")
    text = re.sub(r"Tollway \d[\w.+-]*", "Tollway", text)
    text = re.sub(r'"(id|content|finish_reason)": "(?:[^"\\]|\\.)*"', r'"\1": ""', text)
    text = re.sub(r'"created": \d+', '"created": 0', text)
    return re.sub(r'"(\w*tokens)": \d+', r'"\1": 0', text)
