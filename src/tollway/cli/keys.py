"""`tollway keys`: the virtual keys of a running gateway."""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollway.cli.asking import (
    DEFAULT_URL,
    PAGE_ROWS_MAX,
    ROWS,
    All,
    AsJson,
    BudgetDuration,
    ConfigPath,
    KeyFile,
    Limit,
    MaxBudget,
    Models,
    Page,
    ParallelMax,
    RpmLimit,
    SoftBudget,
    TpmLimit,
    Url,
    Yes,
    ask,
    confirm,
    limits,
    names,
    rows_of,
    say,
    say_more,
    show_json,
)
from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import Coloured, dollars, listed, moment, share, show_facts, show_table

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

commands = typer.Typer(help="Virtual keys of a running gateway.", no_args_is_help=True, rich_markup_mode=None)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key itself, its SHA-256, or its alias.")]
Alias = Annotated[str | None, typer.Option("--alias", "--key_alias", help="A name to know it by.")]
UserId = Annotated[str | None, typer.Option("--user_id", "--user", help="The user whose key it is.")]
TeamId = Annotated[str | None, typer.Option("--team_id", "--team", help="The team whose key it is.")]
OrganizationId = Annotated[str | None, typer.Option("--organization_id", help="The organisation whose key it is.")]
BudgetId = Annotated[str | None, typer.Option("--budget_id", help="A budget of `tollway budgets` to hold it to.")]
Duration = Annotated[str | None, typer.Option("--duration", help="The key ends after: 12h, 30d, ...; -1: never.")]
_SHA_256 = re.compile(r"[0-9a-f]{64}")


class Sort(StrEnum):
    CREATED = "created"
    SPEND = "spend"
    BUDGET = "budget"
    ALIAS = "alias"
    EXPIRES = "expires"
    ACTIVE = "active"


#: The API's word, and what comes first.
_SORTS = {
    Sort.CREATED: ("created_at", "desc"),
    Sort.SPEND: ("spend", "desc"),
    Sort.BUDGET: ("max_budget", "desc"),
    Sort.ALIAS: ("key_alias", "asc"),
    Sort.EXPIRES: ("expires", "asc"),
    Sort.ACTIVE: ("last_active", "desc"),
}


@commands.command()
def create(
    *,
    alias: Alias = None,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    budget_id: BudgetId = None,
    duration: Duration = None,
    user_id: UserId = None,
    team_id: TeamId = None,
    organization_id: OrganizationId = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed once; only its SHA-256 is kept."""
    fields = limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    made = ask(url, key_file, config).post(
        "/key/generate",
        {
            "key_alias": alias,
            "models": names(models) or None,
            "budget_id": budget_id,
            "duration": duration,
            "user_id": user_id,
            "team_id": team_id,
            "organization_id": organization_id,
            **fields,
        },
    )
    show_json(made) if as_json else say(made["key"])


@commands.command("list")
def list_keys(
    *,
    alias: Annotated[str | None, typer.Option("--alias", "--key_alias", help="The one with this alias.")] = None,
    team_id: Annotated[str | None, typer.Option("--team_id", "--team", help="Those of this team.")] = None,
    user_id: Annotated[str | None, typer.Option("--user_id", "--user", help="Those of this user.")] = None,
    organization_id: Annotated[str | None, typer.Option("--organization_id", help="Those of this one.")] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = Sort.CREATED,
    limit: Limit = ROWS,
    page: Page = 1,
    everything: All = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show keys, what they spent and what they may."""
    by, order = _SORTS[sort]
    filters = {"team_id": team_id, "user_id": user_id, "organization_id": organization_id, "key_alias": alias}
    client = ask(url, key_file, config)

    def fetch(number: int, size: int) -> tuple[list[Any], int]:
        return _page(client, {**filters, "sort_by": by, "sort_order": order}, number, size)

    keys, total = rows_of(fetch, limit=limit, page=page, everything=everything)
    if as_json:
        show_json(keys)
    else:
        show_keys(keys)
    say_more("keys", len(keys), total, page=page, limit=limit) if not everything else None


def show_keys(keys: list[dict[str, Any]]) -> None:
    rows = [
        (
            key.get("key_alias") or key.get("key_name") or _short(key),
            dollars(key.get("spend") or 0.0),
            dollars(key.get("max_budget")),
            used(key),
            key.get("budget_duration"),
            listed(key.get("models"), "all"),
            key.get("team_id"),
            key.get("user_id"),
            moment(key.get("expires")),
            Coloured("blocked", "red") if key.get("blocked") else "",
            _short(key),
        )
        for key in keys
    ]
    columns = ("KEY", "SPENT", "BUDGET", "USED", "EVERY", "MODELS", "TEAM", "USER", "ENDS", "STATE", "SHA-256")
    show_table(columns, rows, numbers=("SPENT", "BUDGET", "USED"))


def used(held: dict[str, Any]) -> str:
    """How much of a budget is spent, in colour where little is left."""
    limit, spent = held.get("max_budget"), held.get("spend") or 0.0
    if limit is None:
        return ""
    text = share(spent, limit) or "100%"
    return Coloured(text, "red" if spent >= limit else "yellow") if spent >= 0.8 * limit else text


@commands.command()
def show(
    key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show everything about one key."""
    client = ask(url, key_file, config)
    answer = client.get("/key/info", {"key": _named(client, key)})
    show_json(answer) if as_json else show_facts(list(answer["info"].items()))


@commands.command()
def update(
    key: Key,
    *,
    alias: Alias = None,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    budget_id: BudgetId = None,
    duration: Duration = None,
    user_id: UserId = None,
    team_id: TeamId = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else; `none` takes a limit away."""
    plain = {"key_alias": alias, "models": names(models), "budget_id": budget_id, "duration": duration}
    plain |= {"user_id": user_id, "team_id": team_id}
    changes = {name: value for name, value in plain.items() if value is not None} | limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    if not changes:
        raise Refused("nothing to change: give at least one of the flags in --help", exit_code=MISUSED)
    client = ask(url, key_file, config)
    answer = client.change("/key/update", {"key": _named(client, key), **changes})
    show_json(answer) if as_json else say("changed")


@commands.command()
def block(
    key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Refuse calls with this key from now on."""
    client = ask(url, key_file, config)
    answer = client.post("/key/block", {"key": _named(client, key)})
    show_json(answer) if as_json else say("blocked")


@commands.command()
def unblock(
    key: Key, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Let a blocked key call again."""
    client = ask(url, key_file, config)
    answer = client.post("/key/unblock", {"key": _named(client, key)})
    show_json(answer) if as_json else say("unblocked")


@commands.command()
def delete(
    key: Key,
    *,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a key. What it spent stays in the records."""
    client = ask(url, key_file, config)
    named = _named(client, key)
    confirm(f"Delete the key {_told(client, named)}? Calls with it are refused from then on.", yes=yes)
    answer = client.post("/key/delete", {"keys": [named]})
    show_json(answer) if as_json else say("deleted")


@commands.command()
def rotate(
    key: Key,
    *,
    grace_period: Annotated[
        str | None, typer.Option("--grace_period", help="The old secret goes on working for: 1h, 24h, ...")
    ] = None,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; budget, spend and limits stay."""
    client = ask(url, key_file, config)
    named = _named(client, key)
    if grace_period is None:
        told = _told(client, named)
        confirm(f"Rotate the key {told}? Its old secret is refused at once (--grace_period keeps it).", yes=yes)
    made = client.post("/key/regenerate", {"key": named, "grace_period": grace_period})
    show_json(made) if as_json else say(made["key"])


def all_keys(client: GatewayClient, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Every key's record, page by page; at most PAGE_ROWS_MAX * PAGES_MAX of them."""

    def fetch(number: int, size: int) -> tuple[list[Any], int]:
        return _page(client, filters, number, size)

    return rows_of(fetch, limit=PAGE_ROWS_MAX, page=1, everything=True)[0]


def named_key(client: GatewayClient, key: str) -> dict[str, Any] | None:
    """The record of the key with this alias, SHA-256 or text; None for no such key."""
    token = _token_of(key)
    if token is not None:
        keys = _page(client, {"key_hash": token}, 1, 1)[0]
        return keys[0] if keys else None
    found = [one for one in all_keys(client, {"key_alias": key}) if one.get("key_alias") == key]
    return found[0] if len(found) == 1 else None


def _token_of(key: str) -> str | None:
    """The SHA-256 under which a key is stored, so that its text need not travel; None for an alias."""
    if key.startswith("sk-"):
        return sha256(key.encode()).hexdigest()
    return key if _SHA_256.fullmatch(key) else None


def _page(client: GatewayClient, filters: dict[str, Any], number: int, size: int) -> tuple[list[Any], int]:
    answer = client.get("/key/list", {"return_full_object": "true", "size": size, "page": number, **filters})
    return answer["keys"], answer["total_count"]


def _named(client: GatewayClient, key: str) -> str:
    """The SHA-256 of the key that is named, by itself, by that or by its alias."""
    token = _token_of(key)
    if token is not None:
        return token
    found = named_key(client, key)
    if found is None:
        raise Refused(f"no key has the alias {key!r}; `tollway keys list` shows them")
    return str(found["token"])


def _told(client: GatewayClient, named: str) -> str:
    """A key in a question: its name and what it spent, never its text."""
    found = named_key(client, named)
    if found is None:
        raise Refused("the gateway knows no such key; `tollway keys list` shows them")
    name = found.get("key_alias") or found.get("key_name") or _short(found)
    return f"{name!r} (spent {dollars(found.get('spend') or 0.0)})"


def _short(key: dict[str, Any]) -> str:
    return str(key.get("token", ""))[:12]
