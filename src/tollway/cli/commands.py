"""The commands beside serving, each imported when it is typed: a start of the gateway knows their names alone.

A module holds a Typer called `commands`, or a function of the command's own name.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

#: What is typed -> the module, in the order of the help.
MODULES = {
    "keys": "tollway.cli.keys",
    "teams": "tollway.cli.teams",
    "users": "tollway.cli.users",
    "budgets": "tollway.cli.budgets",
    "spend": "tollway.cli.spend",
    "tail": "tollway.cli.tail",
    "dashboard": "tollway.cli.dashboard",
    "doctor": "tollway.cli.doctor",
    "models": "tollway.cli.models",
    "import": "tollway.cli.importing",
    "prices": "tollway.cli.prices",
    "reprice": "tollway.cli.reprice",
    "login": "tollway.cli.login",
    "completion": "tollway.cli.completion",
}


class Commands(TyperGroup):
    """The command line: what Typer was told of, and what stands in MODULES."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Loaded(dict(self.commands))


class _Loaded(MutableMapping[str, Any]):
    """Commands by name; those of MODULES are made when somebody looks."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Any:
        if name not in self._known and name in MODULES:
            self._known[name] = _made(name)
        return self._known[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*MODULES, *self._known)))

    def __len__(self) -> int:
        return len({*MODULES, *self._known})


def _made(name: str) -> Any:
    module = import_module(MODULES[name])
    around = typer.Typer(rich_markup_mode=None, add_completion=False)
    if hasattr(module, "commands"):
        around.add_typer(module.commands, name=name)
    else:
        around.command(name)(getattr(module, name))
    return typer.main.get_group(around).commands[name]
