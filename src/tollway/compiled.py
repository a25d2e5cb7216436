"""Whether the path of a call runs compiled, and where a checkout keeps what was compiled of it.

The modules that every call passes can be compiled to machine code (`hatch_compile.py`); their Python stays what is read, edited and
run where nothing was compiled. A wheel carries what is compiled beside the sources, and Python takes it from there by itself. In a
checkout `make compiled` puts it under `build/compiled`, away from the sources: it is taken as long as it is of these very sources
and this Python. Who edits one of them runs Python again, without a word and without a trap. `TOLLWAY_COMPILED=0` never takes it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

#: Says of what it was compiled: a line for each module, its digest and its path.
STAMP = "sources.txt"


def is_compiled() -> bool:
    """Whether calls run compiled here."""
    spec = find_spec("tollway.gateway")
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


def folder_of(root: Path) -> Path:
    """Where the checkout at `root` keeps what was compiled for this Python."""
    return root / "build" / "compiled" / str(sys.implementation.cache_tag)


def stamp_of(source: Path, modules: list[str]) -> str:
    """What the stamp of these sources says. `modules` are paths under `source`."""
    from hashlib import sha256

    return "".join(f"{sha256((source / path).read_bytes()).hexdigest()} {path}\n" for path in modules)


class CheckoutFinder:
    """Finds the compiled modules of a checkout before their sources are found."""

    def __init__(self, folder: Path, source: Path, modules: list[str]) -> None:
        self._source = source
        #: Compiled packages look for what is in them where they stand themselves: not where the others' sources are.
        self._packages = {path.removesuffix("/__init__.py").replace("/", ".") for path in modules if "__init__" in path}
        suffix = EXTENSION_SUFFIXES[0]
        self._places: dict[str, Path] = {"tollway__mypyc": folder / f"tollway__mypyc{suffix}"}
        for path in modules:
            name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            self._places[name] = folder / f"{path.removesuffix('.py')}{suffix}"

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        place = self._places.get(name)
        if place is None:
            parent = name.rpartition(".")[0]
            within = self._within(parent)
            return None if within is None else PathFinder.find_spec(name, within)
        within = self._within(name)
        loader = ExtensionFileLoader(name, str(place))
        return spec_from_file_location(name, place, loader=loader, submodule_search_locations=within)

    def _within(self, package: str) -> list[str] | None:
        return [str(self._source / package.replace(".", "/"))] if package in self._packages else None


def take_from_checkout(package: Path) -> None:
    """Called when the package is imported. Costs nothing but a look where nothing was compiled, a millisecond where it was."""
    source = package.parent
    if source.name != "src" or os.environ.get("TOLLWAY_COMPILED") == "0":
        return
    folder = folder_of(source.parent)
    try:
        stamp = (folder / STAMP).read_text()
        modules = [line.split(" ", 1)[1] for line in stamp.splitlines()]
        if stamp_of(source, modules) == stamp:
            sys.meta_path.insert(0, CheckoutFinder(folder, source, modules))
    except OSError:
        return
