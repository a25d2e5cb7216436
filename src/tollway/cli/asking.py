"""What the commands that ask a running gateway have in common: how it is named, and how answers are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

Url = Annotated[
    str, typer.Option("--url", envvar=["TOLLWAY_URL", "LITELLM_PROXY_URL"], help="The running gateway's address.")
]
KeyFile = Annotated[
    str | None, typer.Option("--key_file", help="File that holds the key to ask with; by default LITELLM_MASTER_KEY.")
]
ConfigPath = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", envvar="CONFIG_FILE_PATH", help="The gateway's config.yaml, to find its master key."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Show the gateway's answer as JSON.")]

DEFAULT_URL = "http://127.0.0.1:4000"


def ask(url: str, key_file: str | None, config_path: str | None) -> GatewayClient:
    # The commands are known to every start of the gateway; urllib costs it 20 ms.
    from tollway.cli.gateway_client import GatewayClient, find_key

    return GatewayClient(url, find_key(key_file=key_file, config_path=config_path))


def show_json(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """A table on stdout, in the terminal's width; columns named in `numbers` stand to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console().print(table)


def dollars(amount: float | None) -> str:
    """Dollars as people read them; small sums keep the digits that say something."""
    if amount is None:
        return "no limit"
    return f"${amount:,.2f}" if amount == 0 or abs(amount) >= 1 else f"${amount:.6f}"
