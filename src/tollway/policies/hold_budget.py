"""Holds an upper bound of what a call can cost against every budget that applies; the real cost is charged when usage is final."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tollway.calls import Call, Reply
from tollway.errors import BadRequest
from tollway.ledger.budgets import Account, Budgets, Hold, Holds
from tollway.policies import Step
from tollway.snapshot import Caller, Deployment, Model, Snapshot

#: A text of more bytes than this for each of its tokens is longer than any model writes: the provider did not stop where it was
#: told to. English prose has 4 to 8, Russian 8, Hindi, Thai and Georgian 10 (GPT-4o's tokenizer o200k_base, measured 2026-11-22).
SURE_BYTES_PER_TOKEN = 12
#: More is asked for when so much of what is held is used up, and so large a part of it.
ASK_AT = 0.875
MORE_PARTS = 8


def hold_budget(next: Step, budgets: Budgets, clock: Callable[[], float]) -> Step:
    """Refuses a call that no budget has room for, shortens one that asks for more than is left, and settles it once.

    A caller with no budget holds nothing but is charged all the same, so that its spend is known. About 3 us.
    """

    async def step(call: Call) -> Reply:
        caller: Caller = call.caller
        snapshot: Snapshot = call.snapshot
        accounts = snapshot.gateway_accounts if caller.key is None else caller.key.accounts
        if snapshot.counts_others:
            accounts = _with_others(call, accounts)
        wanted, least = _bound(call) if _limited(accounts) else (0, 0)
        if wanted:
            hold = budgets.take_now(accounts, wanted, clock()) or await budgets.take(accounts, wanted, max(1, least))
        else:
            hold = budgets.charge_only(accounts)
        call.hold = hold
        try:
            if hold.amount < wanted:
                call.operation.shorten(call, hold.amount)
                call.shortened = True
            reply = await next(call)
        except BaseException:
            call.charges += hold.settle(call.cost_of_attempts(), clock())
            raise
        held = reply.relay is not None and (wanted or _limited(reply.deployment.accounts))
        if held and hasattr(call.operation, "output_tokens_within") and _held(call):
            reply.output_bytes_held = (call.output_tokens_max or call.model.output_tokens_max) * SURE_BYTES_PER_TOKEN
            reply.goes_on = lambda: _hold_more(call, reply, budgets, clock())
        reply.on_settle.append(lambda reply: _charge(call, reply, clock()))
        return reply

    return step


def _hold_more(call: Call, reply: Reply, budgets: Budgets, now: float) -> bool:
    """A stream is about to tell more than is held for it, which a provider that obeys its limit does not do: whether more can
    be held, so that it may go on.
    """
    told = reply.relay.output_bytes
    paid_for = _paid_for(call)
    can_grow = not _limited(reply.deployment.accounts)  # what these hold is held apart
    while told >= paid_for * ASK_AT:
        hold: Hold | Holds = call.hold
        more = None
        if can_grow:
            more = budgets.add_now(_first(hold).accounts, max(1, hold.amount // MORE_PARTS), now)
        if more is None:
            reply.output_bytes_held = paid_for  # what is leased may come until then
            return bool(told <= paid_for)
        if isinstance(hold, Hold):
            call.hold = hold = Holds(hold)
        hold.add(more, now)
        paid_for = _paid_for(call)
    reply.output_bytes_held = int(paid_for * ASK_AT)
    return True


def _paid_for(call: Call) -> int:
    """Bytes of output."""
    tokens: int = call.operation.output_tokens_within(call, _held(call))
    return tokens * SURE_BYTES_PER_TOKEN


def _held(call: Call) -> int:
    """For its caller; of one without a budget what is held for the deployment alone."""
    amount: int = call.hold.amount
    return amount or _bound(call)[0]


def _first(held: Hold | Holds) -> Hold:
    return held.first if isinstance(held, Holds) else held


def _limited(accounts: Sequence[Account]) -> bool:
    for account in accounts:  # noqa: SIM110  a generator would cost four times as much, on every call
        if account.limit is not None:
            return True
    return False


def _with_others(call: Call, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
    """With the accounts that only some calls of a caller count against: those of the model, the end user and the tags."""
    key, others, model = call.caller.key, call.snapshot.others, call.model.name
    tags: Sequence[str] = call.tags
    if key is not None:
        accounts += key.model_accounts.get(model, ())
        if key.tags:
            tags = (*key.tags, *tags)
    if call.end_user and (customer := others.customer(call.end_user)) is not None:
        accounts += customer.standing.accounts + customer.standing.model_accounts.get(model, ())
    if others.tags and tags:
        for tag in dict.fromkeys(tags):
            standing = others.tags.get(tag)
            if standing is not None:
                accounts += standing.accounts + standing.model_accounts.get(model, ())
    return accounts


def _bound(call: Call) -> tuple[int, int]:
    model: Model = call.model
    if model.unpriced:
        raise BadRequest(
            f"The model {model.name!r} has no known price, and this key has a budget. An administrator can give it a price "
            "(`input_cost_per_token`, `output_cost_per_token`) or allow it with `unpriced: allow`.",
            param="model",
        )
    if model.free:
        return 0, 0
    most, least = call.operation.bound(call)
    return most, least


def _charge(call: Call, reply: Reply, now: float) -> None:
    hold: Hold | Holds = call.hold
    charges = hold.settle(reply.cost.total, now)
    call.charges = call.charges + charges if call.charges else charges


async def hold_for_deployment(
    call: Call, deployment: Deployment, budgets: Budgets, clock: Callable[[], float]
) -> Callable[[Reply | None], None]:
    """Holds what the call can cost against the budgets of a deployment and its provider; returns what charges them, once, with
    the reply, or with None where there was none. Raises BudgetExceeded or RateLimited.
    """
    most = _bound(call)[0] if _limited(deployment.accounts) else 0
    if call.hold is not None and 0 < call.hold.amount < most:
        most = call.hold.amount  # it was shortened to as much
    hold = budgets.charge_only(deployment.accounts)
    if most:
        hold = budgets.take_now(deployment.accounts, most, clock()) or await budgets.take(
            deployment.accounts, most, most
        )

    def charge(reply: Reply | None) -> None:
        attempt = reply.attempt if reply is not None else call.attempts[-1] if call.attempts else None
        cost = attempt.cost.total if attempt is not None and attempt.cost is not None else 0
        call.charges += hold.settle(cost, clock())

    return charge
