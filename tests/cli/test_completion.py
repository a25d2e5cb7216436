"""Completion: the scripts hold what the parser knows, and real shells complete with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tollway.cli.completion import FILE_FLAGS, Shell, places, script

BASH = shutil.which("bash")
FISH = shutil.which("fish")

#: What is typed, and what comes out. In the folder lie config.yaml and notes.txt.
TYPED = [
    (["tollway", "k"], ["keys"]),
    (["tollway", "te"], ["teams"]),
    (["tollway", "keys", "l"], ["list"]),
    (["tollway", "keys", "ro"], ["rotate"]),
    (["tollway", "teams", "add"], ["add-member"]),
    (["tollway", "keys", "list", "--so"], ["--sort"]),
    (["tollway", "keys", "list", "--sort", "sp"], ["spend"]),
    (["tollway", "keys", "list", "--sort", ""], ["created", "spend", "budget", "alias", "expires", "active"]),
    (["tollway", "completion", ""], ["bash", "zsh", "fish"]),
    (["tollway", "spend", "top", "us"], ["user"]),
    (["tollway", "--config", "conf"], ["config.yaml"]),
    (["tollway", "doctor", "conf"], ["config.yaml"]),
    (["tollway", "keys", "list", "--url", ""], []),
    (["tollway", "--config", "config.yaml", "bud"], ["budgets"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in Shell:
        (folder / f"tollway.{shell}").write_text(script(shell, list(places())))
    (folder / "config.yaml").touch()
    (folder / "notes.txt").touch()
    return folder


def bash(folder: Path, words: list[str]) -> list[str]:
    """What bash offers after these words."""
    assert BASH is not None
    quoted = " ".join(f"'{word}'" for word in words)
    asked = (
        f"source tollway.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _tollway; "
        'for one in "${COMPREPLY[@]}"; do printf "%s\\n" "$one"; done'
    )
    done = subprocess.run([BASH, "--norc", "-c", asked], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize(("words", "offered"), TYPED)
def test_bash_completes(folder: Path, words: list[str], offered: list[str]) -> None:
    assert bash(folder, words) == offered


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_bash_completes_flags_as_they_were_begun_and_values_behind_an_equals_sign(folder: Path) -> None:
    assert bash(folder, ["tollway", "--num_w"]) == ["--num_workers"]
    assert bash(folder, ["tollway", "--num-w"]) == ["--num-workers"]
    assert bash(folder, ["tollway", "keys", "list", "--sort", "=", "ali"]) == ["alias"]
    assert bash(folder, ["tollway", "--config", "="]) == bash(folder, ["tollway", "--config", ""])
    assert bash(folder, ["tollway", "keys", "list", "--key-file", "not"]) == ["notes.txt"]
    # A value that reads like a command is none.
    assert bash(folder, ["tollway", "--model", "keys", "ver"]) == ["version"]


@pytest.mark.skipif(FISH is None, reason="there is no fish here")
@pytest.mark.parametrize(("words", "offered"), TYPED)
def test_fish_completes(folder: Path, words: list[str], offered: list[str]) -> None:
    assert FISH is not None
    asked = f"source tollway.fish; complete -C '{' '.join(words)}'"
    done = subprocess.run(
        [FISH, "--no-config", "-c", asked],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(line.partition("\t")[0] for line in done.stdout.splitlines()) == sorted(offered)


@pytest.mark.parametrize("shell", [shell for shell in Shell if shutil.which(shell)])
def test_a_shell_that_is_here_reads_its_script_without_complaint(folder: Path, shell: Shell) -> None:
    done = subprocess.run([shell, "-n", f"tollway.{shell}"], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", list(Shell))
def test_every_command_and_flag_is_in_every_script(shell: Shell, folder: Path) -> None:
    text = (folder / f"tollway.{shell}").read_text()
    for place in places():
        assert place.path in text
        for name in (name for flag in place.flags for name in flag.names):
            assert (name if shell is not Shell.FISH else name.lstrip("-")) in text


def test_flags_that_take_a_file_are_known_by_name() -> None:
    known = {name for place in places() for flag in place.flags for name in flag.names if flag.takes}
    assert known >= FILE_FLAGS
    files = {name for name in known if name.endswith(("_file", "_path", "_config"))}
    assert files <= FILE_FLAGS, "a flag with such a name takes a file: name it in FILE_FLAGS"
