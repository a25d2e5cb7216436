"""`tollway users`: the users of a running gateway."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollway.cli.asking import (
    DEFAULT_URL,
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
from tollway.cli.keys import show_keys, used
from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import dollars, listed, show_facts, show_table, whole
from tollway.cli.teams import show_teams

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

commands = typer.Typer(help="Users of a running gateway.", no_args_is_help=True, rich_markup_mode=None)


class Role(StrEnum):
    PROXY_ADMIN = "proxy_admin"
    PROXY_ADMIN_VIEWER = "proxy_admin_viewer"
    INTERNAL_USER = "internal_user"
    INTERNAL_USER_VIEWER = "internal_user_viewer"


class Sort(StrEnum):
    CREATED = "created"
    SPEND = "spend"
    EMAIL = "email"


#: The API's word, and what comes first.
_SORTS = {
    Sort.CREATED: ("created_at", "desc"),
    Sort.SPEND: ("spend", "desc"),
    Sort.EMAIL: ("user_email", "asc"),
}

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]
Email = Annotated[str | None, typer.Option("--email", "--user_email", help="The user's e-mail address.")]
Alias = Annotated[str | None, typer.Option("--alias", "--user_alias", help="The user's name.")]
UserRole = Annotated[Role | None, typer.Option("--role", "--user_role", help="What the user's keys may do here.")]


@commands.command("list")
def list_users(
    *,
    search: Annotated[str | None, typer.Option("--search", help="Part of a name, an id or an address.")] = None,
    team_id: Annotated[str | None, typer.Option("--team_id", "--team", help="Those in this team.")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="Those with this role.")] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = Sort.CREATED,
    limit: Limit = ROWS,
    page: Page = 1,
    everything: All = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show users, what they spent and what they may."""
    by, order = _SORTS[sort]
    filters = {"search": search, "team": team_id, "role": role and role.value, "sort_by": by, "sort_order": order}
    client = ask(url, key_file, config)

    def fetch(number: int, size: int) -> tuple[list[Any], int]:
        return _page(client, filters, number, size)

    users, total = rows_of(fetch, limit=limit, page=page, everything=everything)
    if as_json:
        show_json(users)
    else:
        rows = [
            (
                user.get("user_email") or user.get("user_alias") or user["user_id"],
                user.get("user_alias") if user.get("user_email") else "",
                user.get("user_role"),
                listed(user.get("teams")),
                whole(user.get("key_count")),
                dollars(user.get("spend") or 0.0),
                dollars(user.get("max_budget")),
                used(user),
                user.get("budget_duration"),
                user["user_id"],
            )
            for user in users
        ]
        columns = ("USER", "NAME", "ROLE", "TEAMS", "KEYS", "SPENT", "BUDGET", "USED", "EVERY", "ID")
        show_table(columns, rows, numbers=("KEYS", "SPENT", "BUDGET", "USED"))
    say_more("users", len(users), total, page=page, limit=limit) if not everything else None


@commands.command()
def show(
    user: User, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show everything about one user, with teams and keys."""
    client = ask(url, key_file, config)
    answer = client.get("/user/info", {"user_id": _named(client, user)["user_id"]})
    if as_json:
        show_json(answer)
        return
    facts = {name: value for name, value in (answer["user_info"] or {}).items() if name != "teams"}
    show_facts(list(facts.items()))
    for rows, shown in ((answer["teams"], show_teams), (answer["keys"], show_keys)):
        if rows:
            say("")
            shown(rows)


@commands.command()
def create(
    *,
    email: Email = None,
    alias: Alias = None,
    user_id: Annotated[str | None, typer.Option("--user_id", help="The user's id; a random one otherwise.")] = None,
    role: UserRole = None,
    team_id: Annotated[
        list[str] | None, typer.Option("--team_id", "--team", help="The id of a team to be in; repeatable.")
    ] = None,
    with_key: Annotated[bool, typer.Option("--with_key", help="Make a key, too, and print it below the id.")] = False,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a user. The id is printed, and with --with_key a key."""
    fields = limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    made = ask(url, key_file, config).post(
        "/user/new",
        {
            "user_email": email,
            "user_alias": alias,
            "user_id": user_id,
            "user_role": role and role.value,
            "teams": names(team_id),
            "auto_create_key": with_key,
            "models": names(models),
            **fields,
        },
    )
    if as_json:
        show_json(made)
        return
    say(made["user_id"])
    if with_key:
        say(made["key"])


@commands.command()
def update(
    user: User,
    *,
    email: Email = None,
    alias: Alias = None,
    role: UserRole = None,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else; `none` takes a limit away."""
    plain = {"user_email": email, "user_alias": alias, "user_role": role and role.value, "models": names(models)}
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
    answer = client.change("/user/update", {"user_id": _named(client, user)["user_id"], **changes})
    show_json(answer) if as_json else say("changed")


@commands.command()
def delete(
    user: User,
    *,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a user with all keys and places in teams. What was spent stays in the records."""
    client = ask(url, key_file, config)
    found = _named(client, user)
    confirm(f"Delete the user {user!r} with {found.get('key_count') or 0} keys?", yes=yes)
    answer = client.post("/user/delete", {"user_ids": [found["user_id"]]})
    show_json(answer) if as_json else say("deleted")


def _page(client: GatewayClient, filters: dict[str, Any], number: int, size: int) -> tuple[list[Any], int]:
    answer = client.get("/user/list", {**filters, "page": number, "page_size": size})
    return answer["users"], answer["total"]


def _named(client: GatewayClient, user: str) -> dict[str, Any]:
    """The user with this id or address."""
    found, _ = _page(client, {"user_ids": user}, 1, 1) if "," not in user else ([], 0)
    if not found:
        same = user.lower()
        alike, _ = _page(client, {"user_email": user}, 1, 100)
        found = [one for one in alike if (one.get("user_email") or "").lower() == same]
    if len(found) != 1:
        raise Refused(
            f"{'no user has' if not found else 'several users have'} the id or address {user!r}; `tollway users list` shows them"
        )
    named: dict[str, Any] = found[0]
    return named
