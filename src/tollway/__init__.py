"""Tollway: an LLM gateway. The life of one call is in `gateway.py`; the design is in `docs/design.md`."""

from pathlib import Path

from tollway.compiled import take_from_checkout

__version__ = "0.1.0"

take_from_checkout(Path(__file__).parent)
