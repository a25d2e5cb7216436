"""`tollway keys`: the virtual keys of a running gateway."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollway.cli.asking import DEFAULT_URL, AsJson, ConfigPath, KeyFile, Url, ask, dollars, show_json, show_table
from tollway.cli.refusal import Refused

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

commands = typer.Typer(help="Virtual keys of a running gateway.", no_args_is_help=True, rich_markup_mode=None)

PAGE_KEYS = 100
PAGES_MAX = 1000

Key = Annotated[str, typer.Argument(help="The key itself, its SHA-256, or its alias.")]
#: A key, or the SHA-256 under which it is stored; anything else is an alias.
_NAMES_ITSELF = re.compile(r"sk-.+|[0-9a-f]{64}")


@commands.command()
def create(
    *,
    alias: Annotated[str | None, typer.Option("--alias", "--key_alias", help="A name to know it by.")] = None,
    models: Annotated[
        list[str] | None, typer.Option("--models", "--model", help="May call this model; repeatable.")
    ] = None,
    max_budget: Annotated[float | None, typer.Option("--max_budget", min=0, help="Dollars it may spend.")] = None,
    budget_duration: Annotated[
        str | None, typer.Option("--budget_duration", help="The budget starts anew after: 1d, 30d, monthly, ...")
    ] = None,
    duration: Annotated[str | None, typer.Option("--duration", help="The key ends after: 12h, 30d, ...")] = None,
    user_id: Annotated[str | None, typer.Option("--user_id")] = None,
    team_id: Annotated[str | None, typer.Option("--team_id")] = None,
    rpm_limit: Annotated[int | None, typer.Option("--rpm_limit", min=0, help="Requests a minute.")] = None,
    tpm_limit: Annotated[int | None, typer.Option("--tpm_limit", min=0, help="Tokens a minute.")] = None,
    max_parallel_requests: Annotated[int | None, typer.Option("--max_parallel_requests", min=0)] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed once; only its SHA-256 is kept."""
    made = ask(url, key_file, config).post(
        "/key/generate",
        {
            "key_alias": alias,
            "models": models or None,
            "max_budget": max_budget,
            "budget_duration": budget_duration,
            "duration": duration,
            "user_id": user_id,
            "team_id": team_id,
            "rpm_limit": rpm_limit,
            "tpm_limit": tpm_limit,
            "max_parallel_requests": max_parallel_requests,
        },
    )
    show_json(made) if as_json else _say(made["key"])


@commands.command("list")
def list_keys(
    *,
    team_id: Annotated[str | None, typer.Option("--team_id")] = None,
    user_id: Annotated[str | None, typer.Option("--user_id")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show all keys, what they spent and what they may."""
    keys = all_keys(ask(url, key_file, config), {"team_id": team_id, "user_id": user_id})
    if as_json:
        show_json(keys)
        return
    rows = [
        (
            key.get("key_alias") or key.get("key_name") or _short(key),
            dollars(key.get("spend") or 0.0),
            dollars(key.get("max_budget")),
            key.get("budget_duration"),
            ", ".join(key.get("models") or ["all"]),
            key.get("expires"),
            "blocked" if key.get("blocked") else "",
            _short(key),
        )
        for key in keys
    ]
    columns = ("KEY", "SPENT", "BUDGET", "EVERY", "MODELS", "ENDS", "", "SHA-256")
    show_table(columns, rows, numbers=("SPENT", "BUDGET"))


@commands.command()
def show(
    key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show everything about one key."""
    client = ask(url, key_file, config)
    answer = client.get("/key/info", {"key": _named(client, key)})
    if as_json:
        show_json(answer)
        return
    told = {name: value for name, value in answer["info"].items() if value not in (None, [], {}, "")}
    show_table(("", ""), list(told.items()))


@commands.command()
def block(key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None) -> None:
    """Refuse calls with this key from now on."""
    client = ask(url, key_file, config)
    client.post("/key/block", {"key": _named(client, key)})
    _say("blocked")


@commands.command()
def unblock(key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None) -> None:
    """Let a blocked key call again."""
    client = ask(url, key_file, config)
    client.post("/key/unblock", {"key": _named(client, key)})
    _say("unblocked")


@commands.command()
def delete(key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None) -> None:
    """Delete a key. What it spent stays in the records."""
    client = ask(url, key_file, config)
    client.post("/key/delete", {"keys": [_named(client, key)]})
    _say("deleted")


@commands.command()
def rotate(
    key: Key,
    *,
    grace_period: Annotated[
        str | None, typer.Option("--grace_period", help="The old secret goes on working for: 1h, 24h, ...")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; budget, spend and limits stay."""
    client = ask(url, key_file, config)
    made = client.post("/key/regenerate", {"key": _named(client, key), "grace_period": grace_period})
    show_json(made) if as_json else _say(made["key"])


def all_keys(client: GatewayClient, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Every key's record, page by page; at most PAGE_KEYS * PAGES_MAX of them."""
    keys: list[dict[str, Any]] = []
    for page in range(1, PAGES_MAX + 1):
        query = {"return_full_object": "true", "size": PAGE_KEYS, "page": page, **filters}
        answer = client.get("/key/list", query)
        keys += answer["keys"]
        if page >= answer["total_pages"]:
            break
    return keys


def _named(client: GatewayClient, key: str) -> str:
    """What the API takes for a key: itself, or the SHA-256 of the one with this alias."""
    if _NAMES_ITSELF.fullmatch(key):
        return key
    hashes = [found["token"] for found in all_keys(client, {"key_alias": key}) if found.get("key_alias") == key]
    if len(hashes) != 1:
        raise Refused(
            f"{'no key has' if not hashes else 'several keys have'} the alias {key!r}; `tollway keys list` shows them"
        )
    return str(hashes[0])


def _short(key: dict[str, Any]) -> str:
    return str(key.get("token", ""))[:12]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
