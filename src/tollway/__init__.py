"""Tollway: an LLM gateway. The life of one call is in `gateway.py`; the design is in `docs/design.md`."""

__version__ = "0.1.0"
