"""`tollway teams`: the teams of a running gateway, and who is in them."""

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
from tollway.cli.tables import Coloured, dollars, listed, show_facts, show_table, whole

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

commands = typer.Typer(help="Teams of a running gateway.", no_args_is_help=True, rich_markup_mode=None)

Team = Annotated[str, typer.Argument(metavar="TEAM", help="The team's id or its alias.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]
Alias = Annotated[str | None, typer.Option("--alias", "--team_alias", help="A name to know it by.")]
OrganizationId = Annotated[str | None, typer.Option("--organization_id", help="The organisation that it belongs to.")]
MemberBudget = Annotated[
    str | None, typer.Option("--team_member_budget", metavar="DOLLARS", help="Of each member who has none of his own.")
]


class Sort(StrEnum):
    CREATED = "created"
    SPEND = "spend"
    BUDGET = "budget"
    ALIAS = "alias"


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


#: The API's word, and what comes first.
_SORTS = {
    Sort.CREATED: ("created_at", "desc"),
    Sort.SPEND: ("spend", "desc"),
    Sort.BUDGET: ("max_budget", "desc"),
    Sort.ALIAS: ("team_alias", "asc"),
}


@commands.command("list")
def list_teams(
    *,
    search: Annotated[str | None, typer.Option("--search", help="Part of an alias or an id.")] = None,
    user_id: Annotated[str | None, typer.Option("--user_id", "--user", help="Those that this user is in.")] = None,
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
    """Show teams, what they spent and what they may."""
    by, order = _SORTS[sort]
    filters = {"search": search, "user_id": user_id, "organization_id": organization_id}
    client = ask(url, key_file, config)

    def fetch(number: int, size: int) -> tuple[list[Any], int]:
        return _page(client, {**filters, "sort_by": by, "sort_order": order}, number, size)

    teams, total = rows_of(fetch, limit=limit, page=page, everything=everything)
    if as_json:
        show_json(teams)
    else:
        show_teams(teams)
    say_more("teams", len(teams), total, page=page, limit=limit) if not everything else None


def show_teams(teams: list[dict[str, Any]]) -> None:
    rows = [
        (
            team.get("team_alias") or team["team_id"],
            whole(len(team.get("members_with_roles") or ())),
            whole(team.get("keys_count")),
            dollars(team.get("spend") or 0.0),
            dollars(team.get("max_budget")),
            used(team),
            team.get("budget_duration"),
            listed(team.get("models"), "all"),
            team.get("organization_alias") or team.get("organization_id"),
            Coloured("blocked", "red") if team.get("blocked") else "",
            team["team_id"],
        )
        for team in teams
    ]
    columns = ("TEAM", "MEMBERS", "KEYS", "SPENT", "BUDGET", "USED", "EVERY", "MODELS", "ORGANISATION", "STATE", "ID")
    show_table(columns, rows, numbers=("MEMBERS", "KEYS", "SPENT", "BUDGET", "USED"))


@commands.command()
def show(
    team: Team, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show everything about one team, with its members and keys."""
    client = ask(url, key_file, config)
    answer = client.get("/team/info", {"team_id": _named(client, team)})
    if as_json:
        show_json(answer)
        return
    facts = {name: value for name, value in answer["team_info"].items() if name != "members_with_roles"}
    show_facts(list(facts.items()))
    _show_members(answer)
    if answer["keys"]:
        say("")
        show_keys(answer["keys"])


def _show_members(answer: dict[str, Any]) -> None:
    memberships = {one["user_id"]: one for one in answer["team_memberships"]}
    rows = []
    for member in answer["team_info"]["members_with_roles"]:
        held = memberships.get(member["user_id"], {})
        budget = held.get("litellm_budget_table") or {}
        rows.append(
            (
                member["user_id"],
                member.get("user_email"),
                member["role"],
                dollars(held.get("spend") or 0.0),
                dollars(budget.get("max_budget")),
                budget.get("budget_duration"),
            )
        )
    if rows:
        say("")
        show_table(("MEMBER", "E-MAIL", "ROLE", "SPENT", "BUDGET", "EVERY"), rows, numbers=("SPENT", "BUDGET"))


@commands.command()
def create(
    *,
    alias: Alias = None,
    team_id: Annotated[str | None, typer.Option("--team_id", help="Its id; a random one otherwise.")] = None,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    team_member_budget: MemberBudget = None,
    organization_id: OrganizationId = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a team. Its id is printed."""
    fields = limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        team_member_budget=team_member_budget,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    plain = {"team_alias": alias, "team_id": team_id, "models": names(models), "organization_id": organization_id}
    made = ask(url, key_file, config).post("/team/new", {**plain, **fields})
    show_json(made) if as_json else say(made["team_id"])


@commands.command()
def update(
    team: Team,
    *,
    alias: Alias = None,
    models: Models = None,
    max_budget: MaxBudget = None,
    soft_budget: SoftBudget = None,
    budget_duration: BudgetDuration = None,
    team_member_budget: MemberBudget = None,
    organization_id: OrganizationId = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    max_parallel_requests: ParallelMax = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else; `none` takes a limit away."""
    plain = {"team_alias": alias, "models": names(models), "organization_id": organization_id}
    changes = {name: value for name, value in plain.items() if value is not None} | limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        team_member_budget=team_member_budget,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    if not changes:
        raise Refused("nothing to change: give at least one of the flags in --help", exit_code=MISUSED)
    client = ask(url, key_file, config)
    answer = client.change("/team/update", {"team_id": _named(client, team), **changes})
    show_json(answer) if as_json else say("changed")


@commands.command()
def block(
    team: Team, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Refuse calls with any of the team's keys from now on."""
    client = ask(url, key_file, config)
    answer = client.post("/team/block", {"team_id": _named(client, team)})
    show_json(answer) if as_json else say("blocked")


@commands.command()
def unblock(
    team: Team, *, url: Url = DEFAULT_URL, key_file: KeyFile = None, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Let the keys of a blocked team call again."""
    client = ask(url, key_file, config)
    answer = client.post("/team/unblock", {"team_id": _named(client, team)})
    show_json(answer) if as_json else say("unblocked")


@commands.command()
def delete(
    team: Team,
    *,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a team with its keys. What it spent stays in the records."""
    client = ask(url, key_file, config)
    found = client.get("/team/info", {"team_id": _named(client, team)})
    members, keys = len(found["team_info"]["members_with_roles"]), len(found["keys"])
    name = found["team_info"].get("team_alias") or found["team_id"]
    confirm(f"Delete the team {name!r} ({members} members) with its {keys} keys?", yes=yes)
    answer = client.post("/team/delete", {"team_ids": [found["team_id"]]})
    show_json(answer) if as_json else say("deleted")


@commands.command("add-member")
def add_member(
    team: Team,
    user: User,
    *,
    role: Annotated[Role, typer.Option("--role", help="What the member may do in the team.")] = Role.USER,
    max_budget: Annotated[
        str | None, typer.Option("--max_budget", metavar="DOLLARS", help="The member's own limit in this team.")
    ] = None,
    budget_duration: BudgetDuration = None,
    rpm_limit: RpmLimit = None,
    tpm_limit: TpmLimit = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Put a user into a team; one whom nobody knows is made."""
    client = ask(url, key_file, config)
    fields = limits(
        max_budget_in_team=max_budget, budget_duration=budget_duration, rpm_limit=rpm_limit, tpm_limit=tpm_limit
    )
    member = {**_member(user), "role": role.value}
    answer = client.post("/team/member_add", {"team_id": _named(client, team), "member": member, **fields})
    show_json(answer) if as_json else say("added")


@commands.command("remove-member")
def remove_member(
    team: Team,
    user: User,
    *,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Take a user out of a team; the keys that the user had in it are deleted."""
    client = ask(url, key_file, config)
    team_id = _named(client, team)
    confirm(f"Take {user!r} out of the team {team!r} and delete the user's keys in it?", yes=yes)
    answer = client.post("/team/member_delete", {"team_id": team_id, **_member(user)})
    show_json(answer) if as_json else say("removed")


def _page(client: GatewayClient, filters: dict[str, Any], number: int, size: int) -> tuple[list[Any], int]:
    answer = client.get("/v2/team/list", {**filters, "page": number, "page_size": size})
    return answer["teams"], answer["total"]


def _named(client: GatewayClient, team: str) -> str:
    """The id of the team with this id or alias."""
    if _page(client, {"team_id": team}, 1, 1)[0]:
        return team
    found = [one for one in _page(client, {"team_alias": team}, 1, 100)[0] if one.get("team_alias") == team]
    if len(found) != 1:
        raise Refused(
            f"{'no team has' if not found else 'several teams have'} the id or alias {team!r}; `tollway teams list` shows them"
        )
    return str(found[0]["team_id"])


def _member(user: str) -> dict[str, str]:
    return {"user_email": user} if "@" in user else {"user_id": user}
