"""What the gateway says when it has started: plain text, one screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tollway import __version__
from tollway.cli.binding import EVERYWHERE, url_of

if TYPE_CHECKING:
    from tollway.app import Prepared

MODELS_SHOWN_MAX = 12
_NO_BODIES = "not stored (store_prompts_in_spend_logs: true under general_settings stores them)"


def announcement(
    prepared: Prepared, *, host: str, port: int, tls: bool, warnings: Iterable[str], greeted: bool = False
) -> str:
    """The text, without a newline at its end. It holds a master key made just now: print it, log it nowhere.

    `greeted`: how to get in is told below it.
    """
    url = url_of(host, port, tls=tls)
    lines = [
        f"Tollway {__version__}",
        "",
        f"  Serving  {url}{' and every other address of this machine' if host in {EVERYWHERE, '::'} else ''}",
        f"  Pages    {url}/ui (sign in with the master key), {url}/docs",
        f"  Models   {_models(prepared.models)}",
        f"  Data     {prepared.data_path}",
        f"  Bodies   {prepared.bodies_path or _NO_BODIES}",
    ]
    if prepared.master_key_made is not None:
        lines += [
            "",
            f"  Master key, made just now and kept in {prepared.master_key_path}, which only you can read:",
            f"  {prepared.master_key_made.reveal()}",
        ]
    if not greeted:
        lines += ["", "  Make a key for a caller:", f"  {_make_a_key(url, prepared)}"]
    told = [*prepared.warnings, *warnings]
    if told:
        lines += ["", *(f"  warning: {sentence}" for sentence in told)]
    return "\n".join(lines)


def _models(models: tuple[str, ...]) -> str:
    if not models:
        return "none yet: start with --model or --config"
    shown = ", ".join(models[:MODELS_SHOWN_MAX])
    return f"{shown} and {len(models) - MODELS_SHOWN_MAX} more" if len(models) > MODELS_SHOWN_MAX else shown


def _make_a_key(url: str, prepared: Prepared) -> str:
    master = _master_key_for_a_shell(prepared.master_key_path, prepared.config.sources.get("access.master_key", ""))
    return (
        f'curl {url}/key/generate -H "Authorization: Bearer {master}" '
        """-H "Content-Type: application/json" -d '{"key_alias": "me", "max_budget": 10}'"""
    )


def _master_key_for_a_shell(path: Path | None, source: str) -> str:
    """How to write the master key without showing it. `source` is "environment NAME", "config.yaml:7" or
    "config.yaml:7 (environment NAME)"."""
    if path is not None:
        return f"$(cat {path})"
    _, named, variable = source.partition("environment ")
    return f"${variable.rstrip(')')}" if named else "YOUR_MASTER_KEY"
