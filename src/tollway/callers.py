"""Who may spend what: turns what is stored of keys, teams, users and the others into accounts and paces, and keys that refer
to them.

Accounts and paces outlive a snapshot, by (scope, id): what was spent and is held stays when a limit changes. A `Callers` is
made anew for each snapshot; what it did not name any more is let go at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import structs

from tollway.config import next_reset, parse_duration
from tollway.config.settings import Config, ModelEntry
from tollway.ledger.budgets import NEVER, Account
from tollway.ledger.pace import Pace
from tollway.ledger.raises import Raises
from tollway.snapshot import Customer, JointAccess, Key, ModelAccess, Others, Paced, Standing
from tollway.storage import GLOBAL_SCOPE, KEY_SCOPE, NANO_MAX, KeyRecord, Spent
from tollway.storage.people import (
    CUSTOMER_SCOPE,
    DEPLOYMENT_SCOPE,
    KEY_ACCOUNT_FIELD,
    MEMBER_SCOPE,
    ORGANIZATION_SCOPE,
    PROVIDER_SCOPE,
    TAG_SCOPE,
    TEAM_SCOPE,
    USER_SCOPE,
    WITHOUT_ROLE_FIELD,
    Limits,
    People,
    Team,
    User,
    Window,
    key_limits,
    member_id,
    raise_of,
)

#: End users whom nobody registered and whose budgets are kept in memory; the one that was idle longest goes first.
UNKNOWN_CUSTOMERS_MAX = 100_000
#: Deployments that a wildcard stands for are bound when they are first called: their budgets stay.
_BOUND_LATER = (PROVIDER_SCOPE, DEPLOYMENT_SCOPE)

#: Fields of a key by which more than its columns holds it.
_FURTHER = frozenset({"budget_id", "windows", "model_budgets", "model_rpm_limit", "model_tpm_limit"})

Accounts = dict[tuple[str, str], Account]
Paces = dict[tuple[str, str], Pace]


class Callers:
    """Makes what a snapshot needs. `accounts`, `paces` and `raises` are the gateway's own, which live long; `spent` is what the
    storage knows of everybody but keys.
    """

    def __init__(
        self,
        config: Config,
        people: People,
        spent: Mapping[tuple[str, str], Spent],
        *,
        accounts: Accounts,
        paces: Paces,
        raises: Raises,
        new_pace: Callable[[str, str], Pace],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._people = people
        self._spent = spent
        self._accounts = accounts
        self._paces = paces
        self._raises = raises
        self._new_pace = new_pace
        self._wall = wall
        self._named: set[tuple[str, str]] = set()
        self._keys: set[tuple[str, str]] = set()
        self._paced: set[tuple[str, str]] = set()
        self._soft: dict[tuple[str, str], tuple[Account, int]] = {}
        self._more_accounts = False
        self._more_paces = False
        self.gateway = self._gateway_account()

    # --- keys

    def key(self, record: KeyRecord) -> Key:
        people = self._people
        team = people.teams.get(record.team_id) if record.team_id else None
        user = people.users.get(record.user_id) if record.user_id else None
        organization_id = record.organization_id or (team.organization_id if team is not None else None)
        organization = people.organizations.get(organization_id) if organization_id else None
        if team is None and user is None and organization is None and _FURTHER.isdisjoint(record.fields):
            return self._key_by_itself(record)
        limits = key_limits(record)
        if budget_id := record.fields.get("budget_id"):
            limits = limits.over(people.limits_of(budget_id))
        account = self._key_account(record, limits.max_budget_nano, limits.budget_duration)
        name = record.fields.get(KEY_ACCOUNT_FIELD) or record.token.hex()
        parts = [
            Standing(accounts=(account,), paces=self._own_paces("api_key", record.token.hex(), limits)),
            self._further(KEY_SCOPE, name, limits, f"Key={record.key_alias or record.key_name}", "model_per_key"),
        ]
        if team is not None:
            parts.append(self._entity(TEAM_SCOPE, team.id, team.limits, f"Team={team.id}", "team"))
            if record.user_id:
                parts.append(self._member(team, record.user_id))
        if user is not None:
            parts.append(self._user(user, personal=team is None))
        if organization is not None:
            shared = people.limits_of(organization.budget_id)
            own = Limits(model_rpm=organization.model_rpm, model_tpm=organization.model_tpm).over(shared)
            label = f"Organization={organization.id}"
            parts.append(self._entity(ORGANIZATION_SCOPE, organization.id, own, label, "organization"))
            if record.organization_id is None:
                record = structs.replace(record, organization_id=organization.id)
        standing = _joined(parts, (self.gateway,))
        self._more_accounts = self._more_accounts or bool(standing.model_accounts)
        self._more_paces = self._more_paces or bool(standing.model_paces)
        access = [ModelAccess(record.models)]
        if team is not None:
            access.append(ModelAccess(team.models, "team"))
        elif user is not None:
            access.append(ModelAccess(user.models, "user"))
        if organization is not None:
            access.append(ModelAccess(organization.models, "org"))
        open_to = [one for one in access if not one.everything]
        return Key(
            record,
            account,
            standing,
            access=access[0] if len(open_to) == 0 else open_to[0] if len(open_to) == 1 else JointAccess(open_to),
            aliases={**team.aliases, **record.aliases} if team is not None and team.aliases else record.aliases,
            closed=_closed(record, team, user),
            role=(user.role or "") if user is not None and not record.fields.get(WITHOUT_ROLE_FIELD) else "",
        )

    def unkept_key(self, record: KeyRecord) -> Key:
        """Of somebody without a stored key, as `key`. It has no budget of its own, and no account that would stay: what he spends
        counts against his user, team and organisation.
        """
        key = self.key(record)
        own = key.spend_account
        key.accounts = tuple(account for account in key.accounts if account is not own)
        name = (own.scope, own.id)
        self._accounts.pop(name, None)
        self._keys.discard(name)
        return key

    def _key_by_itself(self, record: KeyRecord) -> Key:
        """Most keys: nothing holds them but what stands in their own columns. Every change makes all of them anew."""
        account = self._key_account(record, record.max_budget_nano, record.budget_duration)
        paces: tuple[Paced, ...] = ()
        if record.rpm_limit is not None or record.tpm_limit is not None or record.parallel_max is not None:
            paces = (self._pace("api_key", account.id, record.rpm_limit, record.tpm_limit, record.parallel_max),)
        standing = Standing(accounts=(account, self.gateway), paces=paces, model_accounts=_NONE, model_paces=_NONE)
        return Key(record, account, standing, closed=_closed(record, None))

    def _key_account(self, record: KeyRecord, limit: int | None, duration: str | None) -> Account:
        token = record.token.hex()
        name = (KEY_SCOPE, token)
        label = f"Key={record.key_alias or ''} ({record.key_name})"
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(
                KEY_SCOPE,
                token,
                label=label,
                spent=record.spend_nano,
                total=record.total_spend_nano,
                period_start_us=record.period_start_us,
            )
        self._keys.add(name)
        account.label = label
        raised = raise_of(record)
        if raised is None or limit is None:
            self._raises.forget(account)
            account.limit = limit
        else:
            self._raises.begin(account, limit, by=min(raised[0], NANO_MAX - limit), until=raised[1] / 1e6)
        self._set_period(account, duration, record.budget_reset_us, record.last_active_us or 0)
        return account

    def _user(self, user: User, *, personal: bool) -> Standing:
        """A user's own budget counts the calls of his own keys; those of his keys in a team only where that was wished."""
        if personal or self._config.money.user_budget_on_team_keys:
            return self._entity(USER_SCOPE, user.id, user.limits, f"User={user.id}", "user")
        paces = structs.replace(user.limits, model_rpm={}, model_tpm={})
        return Standing(paces=self._own_paces("user", user.id, paces))

    def _member(self, team: Team, user_id: str) -> Standing:
        member = team.member(user_id)
        budget_id = (member.budget_id if member is not None else None) or team.member_budget_id
        limits = self._people.limits_of(budget_id)
        if limits is None:
            return Standing()
        return self._entity(
            MEMBER_SCOPE, member_id(team.id, user_id), limits, f"User={user_id} in Team={team.id}", "team_member"
        )

    # --- whom calls name

    def others(self) -> Others:
        people = self._people
        customers = {}
        shared = self._customer_limits()
        for customer in people.customers.values():
            limits = people.limits_of(customer.budget_id) or shared
            customers[customer.id] = Customer(
                standing=self._customer(customer.id, limits),
                access=ModelAccess(customer.models, "customer"),
                blocked=customer.blocked,
            )
        tags = {}
        for tag in people.tags.values():
            limits = people.limits_of(tag.budget_id)
            if limits is not None:
                tags[tag.id] = self._entity(TAG_SCOPE, tag.id, limits, f"Tag={tag.id}", "tag")
        known = [*(customer.standing for customer in customers.values()), *tags.values()]
        has_accounts = self._more_accounts or shared is not None
        return Others(
            customers,
            tags,
            unknown=self._unknown(shared) if shared is not None else None,
            soft=tuple(self._soft.values()),
            has_accounts=has_accounts or any(one.accounts or one.model_accounts for one in known),
            has_paces=self._more_paces or shared is not None or any(one.paces or one.model_paces for one in known),
        )

    def _customer_limits(self) -> Limits | None:
        """What each end user is held to who has no budget of his own."""
        money = self._config.money
        if money.customer_budget_id is not None:
            return self._people.limits_of(money.customer_budget_id)
        if money.customer_budget_usd is not None:
            return Limits(max_budget_nano=nano(money.customer_budget_usd))
        return None

    def _customer(self, id: str, limits: Limits | None) -> Standing:
        if limits is None:
            return Standing()
        return self._entity(CUSTOMER_SCOPE, id, limits, f"End User={id}", "end_user")

    def _unknown(self, limits: Limits) -> Callable[[str], Customer]:
        made: dict[str, Customer] = {}
        everything = ModelAccess(())

        def unknown(id: str) -> Customer:
            found = made.pop(id, None)
            if found is None:
                found = Customer(standing=self._customer(id, limits), access=everything)
                if len(made) >= UNKNOWN_CUSTOMERS_MAX:
                    self._let_go(next(iter(made)), made)
            made[id] = found
            return found

        for scope, name in list(self._accounts):
            if scope == CUSTOMER_SCOPE and name not in self._people.customers:
                unknown(name)
        return unknown

    def _let_go(self, id: str, made: dict[str, Customer]) -> None:
        standing = made.pop(id).standing
        if any(account.held or account.waiters for account in standing.accounts):
            return  # calls are under way: the next snapshot finds it again
        for account in standing.accounts:
            name = (account.scope, account.id)
            self._accounts.pop(name, None)
            self._named.discard(name)
            self._soft.pop(name, None)
        for paced in standing.paces:
            self._paces.pop((paced.scope, paced.id), None)
            self._paced.discard((paced.scope, paced.id))

    # --- who answers

    def of_deployment(self, entry: ModelEntry, provider: str, id: str) -> tuple[Account, ...]:
        """The budgets that the configuration gives a deployment and its provider."""
        accounts = []
        if entry.max_budget_usd is not None:
            window = Window(nano(entry.max_budget_usd), entry.budget_duration)
            accounts.append(self._window(DEPLOYMENT_SCOPE, id, window, f"Deployment={entry.model_name}"))
        budget = self._config.money.provider_budgets.get(provider)
        if budget is not None:
            window = Window(nano(budget.limit_usd), budget.duration)
            accounts.append(self._window(PROVIDER_SCOPE, provider, window, f"Provider={provider}"))
        return tuple(accounts)

    # --- what all have in common

    def end(self) -> list[Account]:
        """Lets go of accounts and paces that nobody has any more; returns those whose period ends otherwise than the storage
        knows.
        """
        gone = self._accounts.keys() - self._named - self._keys
        for name in gone:
            if name[0] not in _BOUND_LATER and not self._is_in_use(name):
                self._raises.forget(self._accounts.pop(name))
        for name in self._paces.keys() - self._paced:
            del self._paces[name]
        changed = []
        for name in self._named:
            account, stored = self._accounts[name], self._spent.get(name)
            stored_us = stored.reset_us if stored is not None else None
            if reset_us(account) != stored_us:
                changed.append(account)
        return changed

    def _is_in_use(self, name: tuple[str, str]) -> bool:
        """Whether somebody who comes with a token would miss it: calls are held in it, or the storage lacks some of its charges."""
        account, stored = self._accounts[name], self._spent.get(name)
        return stored is not None and (bool(account.held or account.waiters) or account.total > stored.total_nano)

    def _entity(self, scope: str, id: str, limits: Limits, label: str, words: str) -> Standing:
        """What everybody but a key has: a budget, further ones, paces. `words` is LiteLLM's for the scope of a pace."""
        account = self._account(scope, id, label, limits.max_budget_nano, limits.budget_duration)
        if limits.soft_budget_nano is not None:
            self._soft[scope, id] = (account, limits.soft_budget_nano)
        own = Standing(accounts=(account,), paces=self._own_paces(words, id, limits))
        return _joined((own, self._further(scope, id, limits, label, f"model_per_{words}")))

    def _further(self, scope: str, id: str, limits: Limits, label: str, words: str) -> Standing:
        """The budgets and paces beside the first: of further periods, and by model."""
        if not (limits.windows or limits.model_budgets or limits.model_rpm or limits.model_tpm):
            return Standing()
        windows = tuple(
            self._window(
                f"{scope}_window", f"{window.budget_duration}:{id}", window, f"{label} ({window.budget_duration})"
            )
            for window in limits.windows
        )
        by_model = {
            model: (self._window(f"{scope}_model", f"{len(model)}:{model}:{id}", window, f"{label} Model={model}"),)
            for model, window in limits.model_budgets.items()
        }
        paces = {
            model: (self._pace(words, f"{id}:{model}", limits.model_rpm.get(model), limits.model_tpm.get(model), None),)
            for model in {**limits.model_rpm, **limits.model_tpm}
        }
        return Standing(accounts=windows, model_accounts=by_model, model_paces=paces)

    def _own_paces(self, scope: str, id: str, limits: Limits) -> tuple[Paced, ...]:
        if limits.rpm is None and limits.tpm is None and limits.parallel_max is None:
            return ()
        return (self._pace(scope, id, limits.rpm, limits.tpm, limits.parallel_max),)

    def _pace(self, scope: str, id: str, rpm: int | None, tpm: int | None, parallel_max: int | None) -> Paced:
        name = (scope, id)
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = self._new_pace(scope, id)
        self._paced.add(name)
        pace.change(rpm=rpm, tpm=tpm, parallel_max=parallel_max)
        return Paced(scope, id, pace)

    def _window(self, scope: str, id: str, window: Window, label: str) -> Account:
        return self._account(scope, id, label, window.max_budget_nano, window.budget_duration)

    def _gateway_account(self) -> Account:
        money = self._config.money
        limit = None if money.max_budget_usd is None else nano(money.max_budget_usd)
        return self._account(GLOBAL_SCOPE, "", "Gateway.", limit, money.budget_duration)

    def _account(self, scope: str, id: str, label: str, limit: int | None, duration: str | None) -> Account:
        name = (scope, id)
        account, stored = self._accounts.get(name), self._spent.get(name)
        if account is None:
            account = self._accounts[name] = Account(
                scope,
                id,
                label=label,
                spent=stored.spend_nano if stored is not None else 0,
                total=stored.total_nano if stored is not None else 0,
                period_start_us=stored.period_start_us if stored is not None else 0,
            )
        if name in self._named:  # several keys have the same team: once is enough
            return account
        self._named.add(name)
        account.label = label
        account.limit = limit
        self._set_period(account, duration, stored.reset_us if stored is not None else None)
        if account.next_reset is not None:
            # A period that was made shorter ends when a shorter one does; none ends before it began, though the clock was set
            # back: it would begin once more, with nothing spent.
            moment = max(self._wall(), account.period_start_us / 1e6)
            account.resets_at = min(account.resets_at, account.next_reset(moment))
        return account

    def _set_period(self, account: Account, duration: str | None, reset_us: int | None, active_us: int = 0) -> None:
        """`reset_us` is what the storage knows of the period's end, `active_us` when it saw the last charge."""
        if duration is None:
            account.resets_at, account.next_reset = NEVER, None
            return
        parsed = parse_duration(duration)
        money = self._config.money

        def following(now: float) -> float:
            moment = datetime.fromtimestamp(now, UTC)
            return next_reset(parsed, moment, timezone=money.timezone, reset_time=money.budget_reset_time).timestamp()

        if reset_us is not None and reset_us > account.period_start_us:
            account.resets_at = reset_us / 1e6
        elif account.resets_at == NEVER:
            # The period's end was not stored yet; it is the first after the last charge in it.
            known_us = max(account.period_start_us, active_us)
            account.resets_at = following(known_us / 1e6 if known_us else self._wall())
        account.next_reset = following
        account.roll(self._wall())


def reset_us(account: Account) -> int | None:
    """When its period ends, as storages keep it."""
    return None if account.resets_at == NEVER else round(account.resets_at * 1_000_000)


def nano(usd: str) -> int:
    return int(Decimal(usd) * 1_000_000_000)


def _closed(record: KeyRecord, team: Team | None, user: User | None = None) -> str:
    if record.blocked:
        return "Key is blocked. Update via `/key/unblock` if you're an admin."
    if team is not None and team.blocked:
        return f"Team={team.id} is blocked. Update via `/team/unblock` if you're an admin."
    if user is not None and user.blocked:
        return f"User={user.id} is blocked. Update via `/user/update` if you're an admin."
    return ""


def _joined(parts: Iterable[Standing], last: tuple[Account, ...] = ()) -> Standing:
    accounts: list[Account] = []
    paces: list[Paced] = []
    model_accounts: dict[str, tuple[Account, ...]] = {}
    model_paces: dict[str, tuple[Paced, ...]] = {}
    for part in parts:
        accounts += part.accounts
        paces += part.paces
        for model, more in part.model_accounts.items():
            model_accounts[model] = (*model_accounts.get(model, ()), *more)
        for model, paced in part.model_paces.items():
            model_paces[model] = (*model_paces.get(model, ()), *paced)
    return Standing(
        accounts=(*accounts, *last),
        paces=tuple(paces),
        model_accounts=model_accounts or _NONE,  # most have none: they share one
        model_paces=model_paces or _NONE,
    )


_NONE: dict[str, Any] = {}
