"""Who asks besides keys, and what they are held to: teams and their members, users, organisations, customers (the end users
of clients), tags, and budgets that several of them share; and the models and credentials that were added through the API.

What they spend is not here: it is kept by scope and id like every other budget's (see `Charge`). An entity is written
whole; fields are only ever added, with a default, so that what an older program wrote can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct, field

from tollway.errors import StorageError
from tollway.storage import KeyRecord

#: Scopes of budgets, beside "key" and "global".
TEAM_SCOPE = "team"
MEMBER_SCOPE = "team_member"
USER_SCOPE = "user"
ORGANIZATION_SCOPE = "organization"
CUSTOMER_SCOPE = "end_user"
TAG_SCOPE = "tag"
PROVIDER_SCOPE = "provider"
DEPLOYMENT_SCOPE = "deployment"

#: The field by which a key's own further budgets are named, so that they stay when it gets another text.
KEY_ACCOUNT_FIELD = "account"
#: The field of a key that somebody else got the text of than its user, and no administrator: it has none of its user's role.
WITHOUT_ROLE_FIELD = "without_role"
#: The field of a key whose budget is raised for a time: by how many nano-dollars, and until when, in microseconds of the epoch.
RAISE_FIELD = "raise"
#: Entries of the audit log that are read at once.
AUDIT_ROWS_MAX = 1_000


class EntityExists(StorageError):
    """Another entity of this kind has this id."""


class Window(Struct, frozen=True, omit_defaults=True):
    """A budget for one period. `budget_duration` None: it never begins anew."""

    max_budget_nano: int
    budget_duration: str | None = None


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody is held to; None and what is not named are no limit. Money is nano-dollars, rates are by the minute.

    `windows` are further budgets beside `max_budget_nano`, each with a period of its own; `model_*` are by public model
    name.
    """

    max_budget_nano: int | None = None
    soft_budget_nano: int | None = None
    budget_duration: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    parallel_max: int | None = None
    windows: tuple[Window, ...] = ()
    model_budgets: dict[str, Window] = field(default_factory=dict)
    model_rpm: dict[str, int] = field(default_factory=dict)
    model_tpm: dict[str, int] = field(default_factory=dict)

    def over(self, shared: Limits | None) -> Limits:
        """These limits, and where they say nothing those of a budget that is shared. A period belongs to its budget."""
        if shared is None:
            return self
        own = self.max_budget_nano is not None
        return Limits(
            max_budget_nano=self.max_budget_nano if own else shared.max_budget_nano,
            soft_budget_nano=_first(self.soft_budget_nano, shared.soft_budget_nano),
            budget_duration=self.budget_duration if own else self.budget_duration or shared.budget_duration,
            rpm=_first(self.rpm, shared.rpm),
            tpm=_first(self.tpm, shared.tpm),
            parallel_max=_first(self.parallel_max, shared.parallel_max),
            windows=self.windows or shared.windows,
            model_budgets=self.model_budgets or shared.model_budgets,
            model_rpm=self.model_rpm or shared.model_rpm,
            model_tpm=self.model_tpm or shared.model_tpm,
        )


class Entity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`created_by` and `updated_by` are user ids. `fields` are LiteLLM's others, only where they are not null."""

    id: str
    created_us: int = 0
    updated_us: int = 0
    created_by: str = ""
    updated_by: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`role` is "admin" or "user" in a team, LiteLLM's role in an organisation. `budget_id` names the member's own budget."""

    user_id: str
    user_email: str | None = None
    role: str = "user"
    budget_id: str | None = None


class Team(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """`member_budget_id` names the budget that each member has who has none of its own."""

    alias: str | None = None
    organization_id: str | None = None
    members: tuple[Member, ...] = ()
    models: tuple[str, ...] = ()
    member_models: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    member_budget_id: str | None = None
    member_permissions: tuple[str, ...] = ()
    blocked: bool = False

    def member(self, user_id: str | None) -> Member | None:
        return next((member for member in self.members if member.user_id == user_id), None)


class User(Entity, frozen=True, kw_only=True, omit_defaults=True):
    alias: str | None = None
    email: str | None = None
    role: str | None = None
    models: tuple[str, ...] = ()
    limits: Limits = Limits()
    blocked: bool = False


class Organization(Entity, frozen=True, kw_only=True, omit_defaults=True):
    alias: str = ""
    models: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    budget_id: str | None = None
    model_rpm: dict[str, int] = field(default_factory=dict)
    model_tpm: dict[str, int] = field(default_factory=dict)

    def member(self, user_id: str | None) -> Member | None:
        return next((member for member in self.members if member.user_id == user_id), None)


class Customer(Entity, frozen=True, kw_only=True, omit_defaults=True):
    alias: str | None = None
    models: tuple[str, ...] = ()
    budget_id: str | None = None
    default_model: str | None = None
    blocked: bool = False


class SharedBudget(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """What whoever names it is held to, each by itself."""

    limits: Limits = Limits()
    allowed_models: tuple[str, ...] = ()


class Tag(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """Its id is its name."""

    description: str | None = None
    models: tuple[str, ...] = ()
    budget_id: str | None = None


class StoredModel(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment that was added through the API; its id is the deployment's. `sealed` are its `litellm_params`."""

    model_name: str
    sealed: bytes
    info: dict[str, Any] = field(default_factory=dict)


class Credential(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """Values that stored models name; its id is its name. `info` is no secret."""

    sealed: bytes
    info: dict[str, Any] = field(default_factory=dict)


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change: who made it, of what, and what it looked like before and after, without secrets. `id` is the storage's."""

    at_us: int
    actor: str
    actor_key: str
    action: str  # "created", "updated", "deleted", "blocked", "rotated", ...
    table: str
    object_id: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    id: int = 0


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries; None means any."""

    actor: str | None = None
    actor_key: str | None = None
    action: str | None = None
    table: str | None = None
    object_id: str | None = None
    from_us: int | None = None
    until_us: int | None = None


class People(Struct, frozen=True, kw_only=True):
    """Everybody, as read at one moment, by id."""

    teams: dict[str, Team] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    organizations: dict[str, Organization] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    budgets: dict[str, SharedBudget] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    models: dict[str, StoredModel] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)

    def limits_of(self, budget_id: str | None) -> Limits | None:
        budget = self.budgets.get(budget_id) if budget_id is not None else None
        return budget.limits if budget is not None else None


#: How an entity's kind is called in the storage and in `People`; its scope, where it spends something.
KINDS: dict[str, type[Entity]] = {
    "teams": Team,
    "users": User,
    "organizations": Organization,
    "customers": Customer,
    "budgets": SharedBudget,
    "tags": Tag,
    "models": StoredModel,
    "credentials": Credential,
}
SCOPES = {
    "teams": TEAM_SCOPE,
    "users": USER_SCOPE,
    "organizations": ORGANIZATION_SCOPE,
    "customers": CUSTOMER_SCOPE,
    "tags": TAG_SCOPE,
}

T = TypeVar("T", bound=Entity)


class EntityStore(Protocol, Generic[T]):
    """One kind of entity. Every change counts as a change of keys: who keeps them in memory is told."""

    async def create(self, entity: T, *, spend_nano: int = 0) -> None:
        """Raises EntityExists. What one of this id spent before is forgotten."""

    async def get(self, id: str) -> T | None: ...

    async def all(self) -> list[T]:
        """The oldest first."""

    async def change(self, id: str, change: Callable[[T], T]) -> tuple[T, T] | None:
        """Puts what `change` makes of an entity in its place; returns both, None when there is none.

        `change` may be called more than once, in another thread; what it raises ends the change.
        """

    async def delete(self, ids: Sequence[str]) -> list[T]:
        """Deletes these, with what is known of their spend; returns those that were there."""


class PeopleStore(Protocol):
    @property
    def teams(self) -> EntityStore[Team]: ...

    @property
    def users(self) -> EntityStore[User]: ...

    @property
    def organizations(self) -> EntityStore[Organization]: ...

    @property
    def customers(self) -> EntityStore[Customer]: ...

    @property
    def budgets(self) -> EntityStore[SharedBudget]: ...

    @property
    def tags(self) -> EntityStore[Tag]: ...

    @property
    def models(self) -> EntityStore[StoredModel]: ...

    @property
    def credentials(self) -> EntityStore[Credential]: ...

    async def load(self) -> People:
        """Everybody, in one transaction."""

    async def set_spent(self, scope: str, scope_id: str, nano: int) -> None:
        """Says what a scope spent in its current period; the total stays, or becomes as much."""

    async def forget_spent(self, scopes: Sequence[tuple[str, str]]) -> None:
        """Forgets what these (scope, id) spent: they are gone, or begin anew."""

    async def note(self, entries: Sequence[AuditEntry]) -> None:
        """Adds to the audit log."""

    async def audit(self, which: AuditFilter, *, limit: int, offset: int = 0) -> tuple[list[AuditEntry], int]:
        """Newest first, and how many there are in all."""

    async def audit_entry(self, id: int) -> AuditEntry | None: ...

    async def forget_audit(self, before_us: int, *, kept: int, rows_max: int) -> int:
        """Forgets entries from before that moment, and all but the newest `kept`; returns how many, at most `rows_max`."""


def member_id(team_id: str, user_id: str) -> str:
    """How a member's spend in a team is named. No two members have the same one, whatever their ids are made of."""
    return f"{len(team_id)}:{team_id}:{user_id}"


def key_limits(record: KeyRecord) -> Limits:
    """What a key itself is held to."""
    fields = record.fields
    return Limits(
        max_budget_nano=record.max_budget_nano,
        soft_budget_nano=record.soft_budget_nano,
        budget_duration=record.budget_duration,
        rpm=record.rpm_limit,
        tpm=record.tpm_limit,
        parallel_max=record.parallel_max,
        windows=tuple(Window(*one) for one in fields.get("windows") or ()),
        model_budgets={name: Window(*one) for name, one in (fields.get("model_budgets") or {}).items()},
        model_rpm=fields.get("model_rpm_limit") or {},
        model_tpm=fields.get("model_tpm_limit") or {},
    )


def raise_of(record: KeyRecord) -> tuple[int, int] | None:
    """By how many nano-dollars a key's budget is raised for a time, and until when; that may be over."""
    raised = record.fields.get(RAISE_FIELD)
    return (raised[0], raised[1]) if raised else None


def _first(own: int | None, shared: int | None) -> int | None:
    return shared if own is None else own
