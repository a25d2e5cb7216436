"""Holds an upper bound of what a call can cost against every budget that applies; the real cost is charged when usage is final."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tollway.calls import Call, Reply
from tollway.errors import BadRequest
from tollway.ledger.budgets import Account, Budgets
from tollway.policies import Step


def hold_budget(next: Step, budgets: Budgets, clock: Callable[[], float]) -> Step:
    """Refuses a call that no budget has room for, shortens one that asks for more than is left, and settles it once.

    A caller with no budget holds nothing but is charged all the same, so that its spend is known. About 3 us.
    """

    async def step(call: Call) -> Reply:
        key = call.caller.key
        accounts = call.snapshot.gateway_accounts if key is None else key.accounts
        limited = _limited(accounts)
        wanted = 0
        if limited:
            wanted, least = _bound(call)
        if wanted > 0:
            hold = await budgets.take(accounts, wanted, max(1, least))
        else:
            hold = budgets.charge_only(accounts)
        call.hold = hold
        try:
            if hold.amount < wanted:
                call.operation.shorten(call, hold.amount)
                call.shortened = True
            reply = await next(call)
        except BaseException:
            call.charges = hold.settle(call.cost_of_attempts(), clock())
            raise
        reply.on_settle.append(lambda reply: _charge(call, reply, clock()))
        return reply

    return step


def _limited(accounts: Sequence[Account]) -> bool:
    for account in accounts:  # noqa: SIM110  a generator would cost four times as much, on every call
        if account.limit is not None:
            return True
    return False


def _bound(call: Call) -> tuple[int, int]:
    model = call.model
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
    call.charges = call.hold.settle(reply.cost.total, now)
