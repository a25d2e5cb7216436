"""`tollway budgets`: limits with a name, which keys, members of teams, customers and others of a running gateway may share."""

from __future__ import annotations

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
    rows_of,
    say,
    say_more,
    show_json,
)
from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import dollars, moment, show_facts, show_table, whole

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

commands = typer.Typer(help="Budgets with a name, to be shared.", no_args_is_help=True, rich_markup_mode=None)

Budget = Annotated[str, typer.Argument(metavar="BUDGET", help="The budget's id.")]
#: Who is held to a budget, under the API's words, and for people.
_HELD = {
    "keys": ("keys", "key_alias"),
    "team_membership": ("members of teams", "user_id"),
    "end_users": ("customers", "user_id"),
    "tags": ("tags", "tag_name"),
    "organization": ("organisations", "organization_alias"),
}


@commands.command("list")
def list_budgets(
    *,
    search: Annotated[str | None, typer.Option("--search", help="Part of an id.")] = None,
    limit: Limit = ROWS,
    page: Page = 1,
    everything: All = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the budgets that were made to be shared."""
    client = ask(url, key_file, config)

    def fetch(number: int, size: int) -> tuple[list[Any], int]:
        return _page(client, {"search": search}, number, size)

    budgets, total = rows_of(fetch, limit=limit, page=page, everything=everything)
    if as_json:
        show_json(budgets)
    else:
        rows = [
            (
                budget["budget_id"],
                dollars(budget.get("max_budget")),
                dollars(budget["soft_budget"]) if budget.get("soft_budget") is not None else "",
                budget.get("budget_duration"),
                moment(budget.get("budget_reset_at")),
                whole(budget.get("rpm_limit")),
                whole(budget.get("tpm_limit")),
                whole(budget.get("max_parallel_requests")),
            )
            for budget in budgets
        ]
        columns = ("BUDGET", "LIMIT", "WARNS AT", "EVERY", "STARTS ANEW", "RPM", "TPM", "AT ONCE")
        show_table(columns, rows, numbers=("LIMIT", "WARNS AT", "RPM", "TPM", "AT ONCE"))
    say_more("budgets", len(budgets), total, page=page, limit=limit) if not everything else None


@commands.command()
def show(
    budget: Budget,
    *,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show one budget, and who is held to it."""
    found = _named(ask(url, key_file, config), budget)
    if as_json:
        show_json(found)
        return
    show_facts([(name, value) for name, value in found.items() if name.removesuffix("_count") not in _HELD])
    for name, (kind, label) in _HELD.items():
        held = found.get(name) or []
        if held:
            shown = [str(one.get(label) or next(iter(one.values()))) for one in held]
            left = int(found.get(f"{name}_count") or len(held)) - len(held)
            show_facts([(kind, ", ".join(shown) + (f" and {left} more" if left > 0 else ""))])


@commands.command()
def create(
    *,
    budget_id: Annotated[str | None, typer.Option("--budget_id", help="Its id; a random one otherwise.")] = None,
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
    """Make a budget. Its id is printed: keys name it with --budget_id."""
    fields = limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    made = ask(url, key_file, config).post("/budget/new", {"budget_id": budget_id, **fields})
    show_json(made) if as_json else say(made["budget_id"])


@commands.command()
def update(
    budget: Budget,
    *,
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
    """Change what is given, for everybody who is held to it; `none` takes a limit away."""
    changes = limits(
        max_budget=max_budget,
        soft_budget=soft_budget,
        budget_duration=budget_duration,
        rpm_limit=rpm_limit,
        tpm_limit=tpm_limit,
        max_parallel_requests=max_parallel_requests,
    )
    if not changes:
        raise Refused("nothing to change: give at least one of the flags in --help", exit_code=MISUSED)
    answer = ask(url, key_file, config).change("/budget/update", {"budget_id": budget, **changes})
    show_json(answer) if as_json else say("changed")


@commands.command()
def delete(
    budget: Budget,
    *,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a budget: whoever named it is held to nothing by it any more."""
    client = ask(url, key_file, config)
    found = _named(client, budget)
    held = sum(int(found.get(f"{name}_count") or 0) for name in _HELD)
    confirm(f"Delete the budget {budget!r}? {held} who name it are no longer held to it.", yes=yes)
    answer = client.post("/budget/delete", {"id": budget})
    show_json(answer) if as_json else say("deleted")


def _page(client: GatewayClient, filters: dict[str, Any], number: int, size: int) -> tuple[list[Any], int]:
    answer = client.get("/budget/list", {**filters, "page": number, "page_size": size})
    return answer["budgets"], answer["total"]


def _named(client: GatewayClient, budget: str) -> dict[str, Any]:
    found, _ = _page(client, {"budget_id": budget}, 1, 1)
    if not found:
        raise Refused(f"there is no budget {budget!r}; `tollway budgets list` shows them")
    named: dict[str, Any] = found[0]
    return named
