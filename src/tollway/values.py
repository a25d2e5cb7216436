"""What a small immutable value is made of.

A module that is compiled (`hatch_compile.py`) cannot give its own structs options: they come from a base that is not compiled.
"""

from __future__ import annotations

from msgspec import Struct


class Value(Struct, frozen=True):
    """Immutable and hashable, compared by what is in it."""


class HashedValue(Struct, frozen=True, cache_hash=True):
    """A `Value` that is often looked up in dicts."""
