"""`tollway completion`: a script that completes the command line in bash, zsh or fish, made from the command line itself.

The script holds every command, flag and choice, so that pressing Tab starts no process. It is text: nothing in it comes from the
environment or a configuration. A new version of Tollway wants a new script, which is one line in a shell's own file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from inspect import unwrap
from typing import Annotated, Any, get_args, get_type_hints

import typer
from msgspec import Struct


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


#: What follows these is a file's name.
FILE_FLAGS = frozenset({"--config", "--key_file", "--log_config", "--ssl_keyfile_path", "--ssl_certfile_path"})


def completion(
    shell: Annotated[Shell, typer.Argument(help="Whose completion.")],
) -> None:
    """Print a script that lets the shell complete: `source <(tollway completion bash)`."""
    sys.stdout.write(script(shell, list(places())))


class Flag(Struct, frozen=True):
    """One flag; `takes` is "" for a switch, "file", "value", or the words that may follow."""

    names: tuple[str, ...]
    help: str
    takes: str


class Place(Struct, frozen=True):
    """What may be typed after "tollway" and these words; `words` are choices of an argument, `file` says that it is one."""

    path: str
    commands: tuple[tuple[str, str], ...]
    flags: tuple[Flag, ...]
    words: str
    file: bool


def places() -> Iterator[Place]:
    """Every command, as the parser knows it."""
    from tollway.cli.main import app

    yield from _places(typer.main.get_command(app), "")


def _places(command: Any, path: str) -> Iterator[Place]:
    inner: dict[str, Any] = {
        name: one for name, one in getattr(command, "commands", {}).items() if not getattr(one, "hidden", False)
    }
    choices = _choices(command.callback)
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    yield Place(
        path=path,
        commands=tuple((name, _first_sentence(one.short_help or one.help)) for name, one in inner.items()),
        flags=(
            *(
                Flag(tuple(param.opts), _first_sentence(param.help), _takes(param, choices.get(param.name, "")))
                for param in options
            ),
            Flag(("--help", "-h"), "Show the flags", ""),
        ),
        words=" ".join(choices[param.name] for param in arguments if param.name in choices),
        file=any(re.search("CONFIG|FILE", param.metavar or "") for param in arguments),
    )
    for name, one in inner.items():
        yield from _places(one, f"{path} {name}".strip())


def _takes(param: Any, choices: str) -> str:
    if param.is_flag:
        return ""
    return choices or ("file" if FILE_FLAGS & set(param.opts) else "value")


def _choices(function: Any) -> dict[str, str]:
    """The words that may be said for each parameter that is one of several. The function's own types are asked: how a parser keeps
    them is its own affair.
    """
    if function is None:
        return {}
    found = {}
    for name, kind in get_type_hints(unwrap(function)).items():
        for one in (kind, *get_args(kind)):
            if isinstance(one, type) and issubclass(one, StrEnum):
                found[name] = " ".join(one)
    return found


def _first_sentence(about: str | None) -> str:
    text = " ".join((about or "").replace("`", "").split())
    return re.split(r"[.:;](?:\s|$)", text)[0].strip()


def script(shell: Shell, known: list[Place]) -> str:
    return {Shell.BASH: _bash, Shell.ZSH: _zsh, Shell.FISH: _fish}[shell](known)


# --- bash and zsh: one function that finds out where it is, and tables of what may stand there

_BASH = r"""# Completion of tollway for bash, made by `tollway completion bash`.
_tollway_after() { # What follows the flag $2 of the command $1: nothing, "file", "value", or words.
  takes=
  case "$1|$2" in
%(after)s
  esac
}

_tollway() {
  local cur=${COMP_WORDS[COMP_CWORD]} at= i word prev= takes= flags= words=
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == '=' ]]; then continue; fi
    if [[ $word == --* ]]; then word=--$(printf %%s "${word#--}" | tr - _); fi
    if [[ -n $prev ]]; then _tollway_after "$at" "$prev"; prev=; if [[ -n $takes ]]; then continue; fi; fi
    case "$word" in
      -*) prev=$word ;;
      *) case "${at:+$at }$word" in
%(paths)s
         esac ;;
    esac
  done
  if [[ $cur == '=' ]]; then cur=; fi
  takes=
  if [[ -n $prev ]]; then _tollway_after "$at" "$prev"; fi
  if [[ $takes == file ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
    return
  fi
  if [[ -n $takes ]]; then
    if [[ $takes != value ]]; then COMPREPLY=($(compgen -W "$takes" -- "$cur")); fi
    return
  fi
  case "$at" in
%(known)s
  esac
  if [[ $cur == -* ]]; then
    # Flags are written with _ or with -, as the person began.
    if [[ ${cur#--} == *-* ]]; then flags=$(printf %%s "$flags" | sed 's/\([a-z]\)_/\1-/g'); fi
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  elif [[ $words == file ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}
complete -F _tollway tollway
"""


def _bash(known: list[Place]) -> str:
    rows = []
    for place in known:
        flags = " ".join(name for flag in place.flags for name in flag.names)
        words = " ".join(name for name, _ in place.commands) or place.words or ("file" if place.file else "")
        rows.append(f'    "{place.path}") flags="{flags}" words="{words}" ;;')
    paths = "|".join(f'"{place.path}"' for place in known if place.path)
    return _BASH % {
        "after": "\n".join(_after(known)),
        "paths": f"           {paths}) at=${{at:+$at }}$word ;;",
        "known": "\n".join(rows),
    }


def _after(known: list[Place]) -> Iterator[str]:
    for place in known:
        for flag in place.flags:
            if flag.takes:
                names = "|".join(f'"{place.path}|{name}"' for name in flag.names)
                yield f'    {names}) takes="{flag.takes}" ;;'


_ZSH = r"""#compdef tollway
# Completion of tollway for zsh, made by `tollway completion zsh`.
_tollway_after() { # What follows the flag $2 of the command $1: nothing, "file", "value", or words.
  takes=
  case "$1|$2" in
%(after)s
  esac
}

_tollway() {
  local at= word prev= takes= kind=
  local -a flags found dashed
  integer i
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if [[ $word == --* ]]; then word=--${${word#--}//-/_}; fi
    if [[ -n $prev ]]; then _tollway_after "$at" "$prev"; prev=; if [[ -n $takes ]]; then continue; fi; fi
    case "$word" in
      -*) prev=$word ;;
      *) case "${at:+$at }$word" in
%(paths)s
         esac ;;
    esac
  done
  takes=
  if [[ -n $prev ]]; then _tollway_after "$at" "$prev"; fi
  case "$takes" in
    file) _files; return ;;
    value) return ;;
    ?*) compadd -- ${=takes}; return ;;
  esac
  case "$at" in
%(known)s
  esac
  if [[ $PREFIX == -* ]]; then
    # Flags are written with _ or with -, as the person began.
    if [[ ${PREFIX#--} == *-* ]]; then
      for word in $flags; do
        if [[ $word == --* ]]; then dashed+=("--${${${word%%%%:*}#--}//_/-}:${word#*:}"); fi
      done
      flags=($dashed)
    fi
    _describe -o flag flags
  elif [[ $kind == file ]]; then
    _files
  else
    _describe command found
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _tollway "$@"
else
  compdef _tollway tollway
fi
"""


def _zsh(known: list[Place]) -> str:
    def told(name: str, about: str) -> str:
        text = (name.replace(":", r"\:") + (f":{about}" if about else "")).replace("'", "")
        return f"'{text}'"

    rows = []
    for place in known:
        flags = " ".join(told(name, flag.help) for flag in place.flags for name in flag.names)
        words = place.commands or tuple((word, "") for word in place.words.split())
        found = " ".join(told(name, about) for name, about in words)
        kind = "file" if place.file and not words else ""
        rows.append(f'    "{place.path}") flags=({flags}); found=({found}); kind={kind} ;;')
    paths = "|".join(f'"{place.path}"' for place in known if place.path)
    return _ZSH % {
        "after": "\n".join(_after(known)),
        "paths": f"           {paths}) at=${{at:+$at }}$word ;;",
        "known": "\n".join(rows),
    }


# --- fish: one line for each word that may stand somewhere

_FISH = r"""# Completion of tollway for fish, made by `tollway completion fish`.
function __tollway_in # Whether the command $argv[1] is being typed.
  set -l at
  for word in (commandline -opc)[2..-1]
    set -l next (string join -- ' ' $at $word)
    if contains -- $next %(paths)s
      set at $next
    end
  end
  test "$at" = "$argv[1]"
end

complete -c tollway -f
%(lines)s
"""


def _fish(known: list[Place]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = []
    for place in known:
        condition = quoted(f'__tollway_in "{place.path}"')
        here = f"complete -c tollway -n {condition}"
        lines += [f"{here} -a {name} -d {quoted(about)}" for name, about in place.commands]
        if place.words:
            lines.append(f"{here} -a {quoted(place.words)}")
        elif place.file:
            lines.append(f"{here} -F")
        for flag in place.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            what = {"": "", "file": " -r -F", "value": " -x"}.get(flag.takes, f" -x -a {quoted(flag.takes)}")
            lines.append(f"{here} {names}{what} -d {quoted(flag.help)}")
    paths = " ".join(quoted(place.path) for place in known if place.path)
    return _FISH % {"paths": paths, "lines": "\n".join(lines)}
