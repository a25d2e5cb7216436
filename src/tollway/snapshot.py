"""What is in force now: configuration, deployments, prices and keys, bound into one value with a number.

A `Snapshot` is built and checked whole, then `Snapshots.swap` puts it in the old one's place. A call takes the snapshot in force
when it arrives and keeps it to its end. What lives longer than a snapshot (accounts, pace, health) is owned elsewhere and only
referred to here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from hashlib import sha256
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from msgspec import Raw, json
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.errors import NotFound
from tollway.ledger.budgets import Account
from tollway.ledger.pace import Pace
from tollway.pricing.catalog import Catalog, ModelFacts, listed_price, place_of
from tollway.pricing.price import Price
from tollway.pricing.terms import terms_for
from tollway.providers import MissingSetting, Provider, Signer
from tollway.routing.choice import Health
from tollway.storage import KeyRecord
from tollway.upstream.wire import Deadlines, Origin, Tls, trusting
from tollway.values import Value

#: Models made from a wildcard entry, kept so that they are bound once.
WILDCARD_MODELS_MAX = 4096
CONNECT_S = 10.0
#: How much a model is taken to write at most where the catalog does not know.
OUTPUT_TOKENS_OTHERWISE = 4096
#: Of a model that answers nothing else: the mode that the catalog gives it, and how it is asked.
ONLY_DIALECTS = {"responses": "openai_responses", "completion": "openai_completions"}
FALLBACK_KINDS = ("general", "context_window", "content_policy")
#: How long a provider may say nothing, where the configuration does not tell: reasoning models think for minutes.
STALL_S_DEFAULT = 600.0


class ChatWire:
    """How chat goes to a deployment: the dialect, and the request line with the standing headers. The heads hold the provider's
    key."""

    __slots__ = ("dialect", "head", "stream_head")

    def __init__(self, dialect: str, head: bytes, stream_head: bytes) -> None:
        self.dialect = dialect
        self.head = head
        self.stream_head = stream_head


class Deployment:
    """One entry that can serve a model: everything that can be worked out before a call is worked out here."""

    __slots__ = (
        "about_head",
        "accounts",
        "deadlines",
        "defaults",
        "drop_unsupported",
        "entry",
        "extra_body",
        "facts",
        "heads",
        "health",
        "id",
        "missing",
        "model_name",
        "order",
        "origin",
        "pace",
        "price",
        "provider",
        "provider_model",
        "public_base",
        "signer",
        "target",
        "target_json",
        "usage_refused",
        "weight",
        "wire",
        "wires",
        "written",
    )

    about_head: bytes  # response header lines that name the deployment
    accounts: tuple[Account, ...]  # its own budget and its provider's, where the configuration gives them
    deadlines: Deadlines
    defaults: dict[str, Raw]  # parameters of the configuration, under those of the request
    drop_unsupported: bool
    entry: ModelEntry
    extra_body: dict[str, Raw]
    facts: ModelFacts | None
    heads: dict[str, bytes]
    health: Health
    id: str
    missing: MissingSetting | None
    model_name: str  # public
    order: int
    origin: Origin
    pace: Pace | None  # the limits that the configuration gives this deployment
    price: Price | None
    provider: Provider
    provider_model: str  # as it was written
    public_base: str  # the base URL without its query, for people
    signer: Signer | None
    target: str  # the model's name at the provider
    target_json: Raw
    usage_refused: bool  # the provider does not know `stream_options`
    weight: float
    wire: ChatWire | None  # for clients of every dialect that is not in `wires`
    wires: dict[str, ChatWire]  # the dialects that it speaks
    written: tuple[
        str, str, str, str, str
    ]  # what a spend row says of it: public model, id, provider, its model, address

    def wire_for(self, dialect: str) -> ChatWire:
        """How a chat in this dialect of the client's goes out. About 0.05 us."""
        wire = self.wires.get(dialect) or self.wire
        if wire is None:
            raise LookupError(f"{self.id} answers no chat")
        return wire

    def head(self, operation: str) -> bytes:
        """Request line and standing headers for an operation, each line ended by CRLF. Holds the provider's key."""
        return self.heads[operation]


class Configured:
    """How much the configuration of the deployments that a call can reach may have written: the most of each. 0 where it says
    nothing."""

    __slots__ = ("choices", "output_tokens", "thinks")

    def __init__(self, output_tokens: int = 0, choices: int = 0, *, thinks: bool = False) -> None:
        self.output_tokens = output_tokens
        self.choices = choices
        self.thinks = thinks


NOTHING_CONFIGURED = Configured()


class Model:
    """A public name and who can serve it. `reachable` are all prices that a call to it may come to, `output_tokens_max` the most
    that it may write without a limit of its own: fallbacks included. `forced` and `by_default` are what the configuration makes
    of a call that says something else, and of one that says nothing.
    """

    __slots__ = (
        "blocked",
        "by_default",
        "deployments",
        "fallbacks",
        "forced",
        "free",
        "name",
        "output_tokens_max",
        "reachable",
        "unpriced",
    )

    def __init__(self, name: str, deployments: tuple[Deployment, ...]) -> None:
        self.name = name
        self.deployments = deployments
        self.fallbacks: tuple[str, ...] = ()
        self.reachable: tuple[Price, ...] = ()
        self.unpriced = False
        self.free = False  # whatever a call to it comes to costs nothing
        self.blocked = all(deployment.entry.blocked for deployment in deployments)
        self.output_tokens_max = OUTPUT_TOKENS_OTHERWISE
        self.forced = self.by_default = NOTHING_CONFIGURED

    def only(self, deployment_id: str) -> Model:
        """The same with one of its deployments alone. Raises NotFound where that is none of them any more."""
        deployments = tuple([one for one in self.deployments if one.id == deployment_id])
        if not deployments:
            raise NotFound(f"What this call goes on from was made by a deployment that {self.name!r} has no more.")
        alone = Model(self.name, deployments)
        alone.reachable, alone.unpriced, alone.free = self.reachable, self.unpriced, self.free
        alone.output_tokens_max = self.output_tokens_max
        alone.forced, alone.by_default = self.forced, self.by_default
        return alone


class ModelAccess:
    """Which models somebody may call: names, access groups and patterns; nothing named means all. `whose` they are is said
    to whoever asks for another one.
    """

    __slots__ = ("everything", "names", "patterns", "whose")

    def __init__(self, names: Iterable[str], whose: str = "key") -> None:
        listed = [name for name in names if name not in ("all-team-models", "all-proxy-models", "*")]
        named = list(names)
        self.whose = whose
        self.everything = not named or any(name in ("all-proxy-models", "*", "all-team-models") for name in named)
        self.names = frozenset(name for name in listed if "*" not in name)
        self.patterns = tuple(re.compile(translate(name)) for name in listed if "*" in name)

    def allows(self, name: str, groups: Iterable[str] = ()) -> bool:
        if self.everything or name in self.names:
            return True
        return any(p.match(name) for p in self.patterns) or any(group in self.names for group in groups)

    def refused_by(self, name: str, groups: Iterable[str] = ()) -> str:
        """Whose models `name` is not among."""
        return self.whose


EVERYTHING = ModelAccess(())


class JointAccess:
    """What all of several allow: a key's models, its team's, its organisation's."""

    __slots__ = ("everything", "parts")

    def __init__(self, parts: Iterable[ModelAccess]) -> None:
        self.parts = tuple(part for part in parts if not part.everything)
        self.everything = not self.parts

    def allows(self, name: str, groups: Iterable[str] = ()) -> bool:
        return all(part.allows(name, groups) for part in self.parts)

    def refused_by(self, name: str, groups: Iterable[str] = ()) -> str:
        return next((part.whose for part in self.parts if not part.allows(name, groups)), "key")


Access: TypeAlias = ModelAccess | JointAccess
Owner: TypeAlias = tuple[bytes | None, str | None, str | None, str | None, str | None]


class Paced:
    """A pace, and whose it is: `scope` is LiteLLM's word ("api_key", "team", "model_per_key", ...)."""

    __slots__ = ("id", "pace", "scope")

    def __init__(self, scope: str, id: str, pace: Pace) -> None:
        self.scope = scope
        self.id = id
        self.pace = pace


class Standing(Value, frozen=True):
    """What somebody's calls are held to. `model_*` are what calls to one public model are held to besides."""

    accounts: tuple[Account, ...] = ()
    paces: tuple[Paced, ...] = ()
    model_accounts: Mapping[str, tuple[Account, ...]] = {}
    model_paces: Mapping[str, tuple[Paced, ...]] = {}


class Key:
    """A virtual key as the request path needs it. `accounts` and `paces` are all that its calls count against: its own, its
    team's, its user's and its organisation's. `closed` says why it opens nothing, and is empty where it does.
    """

    __slots__ = (
        "access",
        "accounts",
        "aliases",
        "allowed_routes",
        "closed",
        "digest",
        "expires_at",
        "label",
        "model_accounts",
        "model_paces",
        "pace",
        "paces",
        "record",
        "role",
        "spend_account",
        "tags",
        "team_id",
        "user_id",
        "written",
    )

    def __init__(
        self,
        record: KeyRecord,
        account: Account,
        standing: Standing,
        *,
        access: Access | None = None,
        aliases: dict[str, str] | None = None,
        closed: str = "",
        role: str = "",
    ) -> None:
        self.record = record
        self.digest: bytes = record.token
        self.label: str = record.key_alias or record.key_name
        self.spend_account = account
        self.accounts = standing.accounts
        self.paces = standing.paces
        self.model_accounts = standing.model_accounts
        self.model_paces = standing.model_paces
        self.pace = next((one.pace for one in standing.paces if one.scope == "api_key"), None)
        self.closed = closed
        self.expires_at: float | None = None if record.expires_us is None else record.expires_us / 1e6
        self.user_id: str = record.user_id or ""
        self.team_id: str = record.team_id or ""
        self.role = role
        self.aliases = record.aliases if aliases is None else aliases
        fields = record.fields
        named = (*(fields.get("tags") or ()), *((fields.get("metadata") or {}).get("tags") or ()))
        self.tags: tuple[str, ...] = tuple(dict.fromkeys(named)) if named else ()
        #: What a spend row says of whose call it was: the key's digest and alias, user, team, organisation.
        self.written: Owner = (record.token, record.key_alias, record.user_id, record.team_id, record.organization_id)
        self.access: Access = access or (ModelAccess(record.models) if record.models else EVERYTHING)
        self.allowed_routes: tuple[str, ...] = tuple(fields.get("allowed_routes") or ())

    def until(self, at: float) -> Key:
        """The same key, with an end of its own: `at`, in seconds of the epoch, or where it ended before."""
        standing = Standing(self.accounts, self.paces, self.model_accounts, self.model_paces)
        key = Key(
            self.record,
            self.spend_account,
            standing,
            access=self.access,
            aliases=self.aliases,
            closed=self.closed,
            role=self.role,
        )
        key.expires_at = at if self.expires_at is None else min(at, self.expires_at)
        return key


class Customer(Value, frozen=True):
    """An end user of clients as the request path needs it."""

    standing: Standing
    access: Access
    blocked: bool = False


class Others:
    """Who a call may count against besides its key: the customers and tags that the gateway knows. `unknown` makes one of an
    end user whom nobody registered, where the configuration gives such a budget.
    """

    __slots__ = ("_unknown", "customers", "has_accounts", "has_paces", "soft", "tags")

    def __init__(
        self,
        customers: dict[str, Customer],
        tags: Mapping[str, Standing],
        *,
        unknown: Callable[[str], Customer] | None = None,
        has_accounts: bool = False,
        has_paces: bool = False,
        soft: tuple[tuple[Account, int], ...] = (),
    ) -> None:
        self.soft = soft  # accounts of others than keys, and what they may spend before somebody is told
        self.customers = customers
        self.tags = tags
        self._unknown = unknown
        #: Whether any call may count against more than its key's own accounts, or paces.
        self.has_accounts = has_accounts
        self.has_paces = has_paces

    def customer(self, id: str) -> Customer | None:
        found = self.customers.get(id)
        return self._unknown(id) if found is None and self._unknown is not None else found


NOBODY_ELSE = Others({}, {})


class Caller:
    """Who asks. `kind` is "key", "master" or "anonymous" (keyless, on loopback only). A signed token's caller has a key that
    nobody stored; `bearer` is what else such a token says.
    """

    __slots__ = ("bearer", "key", "kind")

    def __init__(self, kind: str, key: Key | None = None, bearer: Bearer | None = None) -> None:
        self.kind = kind
        self.key = key
        self.bearer = bearer

    @property
    def is_admin(self) -> bool:
        return self.kind == "master"


class Bearer(Value, frozen=True):
    """`end_user` is whom its calls are for, "" for nobody. `others` are the same person in further teams: which one asks shows
    when the model is known.
    """

    end_user: str = ""
    others: tuple[Caller, ...] = ()


class Bearers(Protocol):
    """Who signed tokens name, as callers of one snapshot."""

    def caller(self, token: bytes, wanted_team: bytes | None) -> Caller:
        """Raises Unauthenticated, ExpiredKey, Forbidden; KeysMissing where `fetch` may help."""

    async def fetch(self, token: bytes) -> None:
        """Waits for the public keys of whoever says to have signed it; a bounded time."""


MASTER = Caller("master")
ANONYMOUS = Caller("anonymous")


#: All that is in a snapshot: what sees it in another way takes the rest over (see `Snapshot.take_after`).
SHARED = (
    "_bind",
    "_by_id",
    "_by_target",
    "_made",
    "_wildcards",
    "bearers",
    "body_bytes_max",
    "catalog",
    "config",
    "counts_others",
    "fetches_media",
    "gateway_accounts",
    "gateway_pace",
    "key_header_name",
    "keyless",
    "keys",
    "knows_customers",
    "master_digest",
    "models",
    "modify_params",
    "number",
    "others",
    "output_tokens_floor",
    "paced_tokens",
    "paces_others",
    "reply_bytes_max",
    "single",
)


class Snapshot:
    """One numbered state of everything. Nothing in it changes, but for the bounded memory of wildcard models."""

    __slots__ = SHARED

    def __init__(
        self,
        *,
        number: int,
        config: Config,
        catalog: Catalog,
        models: dict[str, Model],
        wildcards: list[tuple[re.Pattern[str], ModelEntry]],
        keys: Mapping[bytes, Caller],
        master_digest: bytes | None,
        keyless: bool,
        gateway_accounts: tuple[Account, ...],
        gateway_pace: Pace | None,
        bind: Callable[[ModelEntry, str, str], Deployment],
        others: Others = NOBODY_ELSE,
        bearers: Bearers | None = None,
    ) -> None:
        self.others = others
        self.bearers = bearers
        self.knows_customers = bool(others.customers) or others.has_accounts or others.has_paces
        self.counts_others = others.has_accounts
        self.paces_others = others.has_paces or gateway_pace is not None
        self.paced_tokens = config.bounds.paced_tokens
        self.number = number
        self.config = config
        #: Of the configuration, what every call asks.
        self.key_header_name = config.access.key_header_name
        self.body_bytes_max = config.bounds.body_bytes_max
        self.reply_bytes_max = config.bounds.reply_bytes_max
        self.output_tokens_floor = config.money.output_tokens_floor
        self.modify_params = config.params.modify_params
        self.fetches_media = bool(config.params.media_fetch.allow_hosts)
        self.catalog = catalog
        self.models = models
        self.keys = keys
        self.master_digest = master_digest
        self.keyless = keyless
        self.gateway_accounts = gateway_accounts
        self.gateway_pace = gateway_pace
        self._wildcards = wildcards
        self._bind = bind
        self._made: dict[str, Model] = {}
        self._by_target = {
            d.provider_model: model
            for model in models.values()
            for d in model.deployments
            if "*" not in d.provider_model
        }
        self._by_id = {d.id: Model(model.name, (d,)) for model in models.values() for d in model.deployments}
        self.single = models.get(config.single_model) if config.single_model else None
        for model in (*models.values(), *self._by_id.values()):
            self._name_fallbacks(model)
        for model in (*models.values(), *self._by_id.values()):
            self._reach(model)

    def take_after(self, base: Snapshot) -> None:
        """Takes over what is in another one, in the place of being made."""
        for name in SHARED:
            setattr(self, name, getattr(base, name))

    def resolve(self, name: str, aliases: Mapping[str, str] | None = None) -> Model | None:
        """The model that a requested name means, or None. About 0.2 us for a plain name."""
        if aliases and name in aliases:
            name = aliases[name]
        model = self.models.get(name)
        if model is not None:
            return model
        if self.single is not None:
            return self.single
        alias = self.config.routing.aliases.get(name)
        if alias is not None and alias.model != name:
            return self.resolve(alias.model)
        return self._by_id.get(name) or self._by_target.get(name) or self._from_wildcard(name)

    def _from_wildcard(self, name: str) -> Model | None:
        made = self._made.get(name)
        if made is not None:
            return made
        for pattern, entry in self._wildcards:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            filled = "".join(match.groups())
            target = (
                entry.provider_model.replace("*", filled, 1) if "*" in entry.provider_model else entry.provider_model
            )
            try:
                deployment = self._bind(entry, name, target)
            except LookupError:
                continue
            model = Model(name, (deployment,))
            self._name_fallbacks(model)
            if len(self._made) >= WILDCARD_MODELS_MAX:
                self._made.pop(next(iter(self._made)))
            self._made[name] = model  # before its reach is known: models may be each other's fallbacks
            self._reach(model)
            return model
        return None

    def fallbacks_of(self, model: Model, kind: str = "general") -> tuple[str, ...]:
        """Where to go when `model` fails. `kind` is "context_window", "content_policy" or "general"."""
        routing = self.config.routing
        if kind != "general":
            named: Mapping[str, tuple[str, ...]] = getattr(routing, f"{kind}_fallbacks")
            special = named.get(model.name) or named.get("*")
            if special:
                return special
        return model.fallbacks

    def listed(self, access: Access | None = None) -> list[str]:
        """The model names to show to a caller, in the order of the file; hidden aliases and patterns are left out."""
        names = [n for n in self.models if "*" not in n]
        names += [n for n, alias in self.config.routing.aliases.items() if not alias.hidden and n not in self.models]
        for pattern, entry in self._wildcards:
            provider = entry.provider_model.split("/", 1)[0] if "/" in entry.provider_model else ""
            if provider and entry.model_name != "*":
                prefix = entry.model_name.split("*", 1)[0]
                for known in self.catalog.names_of_provider(provider):
                    bare = known.removeprefix(provider + "/")
                    name = prefix + bare
                    if name not in self.models and pattern.fullmatch(name):
                        names.append(name)
        if access is not None:
            names = [n for n in names if access.allows(n, self.groups_of(n))]
        return list(dict.fromkeys(names))

    def groups_of(self, name: str) -> tuple[str, ...]:
        model = self.models.get(name)
        return model.deployments[0].entry.access_groups if model is not None and model.deployments else ()

    def with_fallbacks(self, model: Model, names: Sequence[str]) -> Model:
        """The same model for a call that names its own fallbacks, or wants none."""
        other = Model(model.name, model.deployments)
        other.fallbacks = tuple(names)
        self._reach(other, names)
        return other

    def _name_fallbacks(self, model: Model) -> None:
        routing = self.config.routing
        general = routing.fallbacks.get(model.name) or routing.fallbacks.get("*") or routing.default_fallbacks
        model.fallbacks = tuple(name for name in general if name != model.name)[: routing.fallbacks_max]

    def _reach(self, model: Model, names: Sequence[str] | None = None) -> None:
        """Works out what a call to `model` can come to: its own deployments and those of its fallbacks."""
        if names is None:
            names = [n for kind in FALLBACK_KINDS for n in self.fallbacks_of(model, kind)]
        others = [other for name in dict.fromkeys(names) if (other := self.resolve(name)) is not None]
        prices: dict[str, Price] = {}
        limits = []
        model.unpriced = False
        for deployment in (*model.deployments, *(d for other in others for d in other.deployments)):
            if deployment.price is not None:
                prices[deployment.price.version] = deployment.price
            elif not deployment.entry.unpriced_allowed:
                model.unpriced = True
            facts = deployment.facts
            limits.append((facts.output_tokens_max if facts is not None else None) or OUTPUT_TOKENS_OTHERWISE)
            if deployment.extra_body:
                model.forced = _configured(deployment.extra_body, model.forced)
            if deployment.defaults:
                model.by_default = _configured(deployment.defaults, model.by_default)
        limits += [model.forced.output_tokens, model.by_default.output_tokens]
        model.reachable = tuple(prices.values())
        model.free = all(price.free for price in model.reachable)
        model.output_tokens_max = max(limits, default=OUTPUT_TOKENS_OTHERWISE)


_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_THOUGHT = ("thinking", "reasoning_effort", "reasoning")


def _configured(fields: Mapping[str, Raw], known: Configured) -> Configured:
    return Configured(
        output_tokens=max(known.output_tokens, *(_whole(fields.get(name)) for name in _OUTPUT_LIMITS)),
        choices=max(known.choices, _whole(fields.get("n"))),
        thinks=known.thinks or any(name in fields for name in _THOUGHT),
    )


def _whole(value: Raw | None) -> int:
    said = None if value is None else json.decode(value)
    return said if isinstance(said, int) and not isinstance(said, bool) else 0


class SeenBy(Snapshot):
    """The snapshot in force as one caller's call meets it, who shows the key of this digest: nobody else has a key in it."""

    def __init__(self, base: Snapshot, caller: Caller, digest: bytes) -> None:
        self.take_after(base)
        self.keys = {digest: caller}
        self.master_digest, self.keyless, self.bearers = None, False, None
        # A user without a key was not looked at when the snapshot was built: he may be the first with limits by model.
        known = base.others
        self.others = Others(
            known.customers,
            known.tags,
            unknown=known._unknown,  # noqa: SLF001  a copy, but for what follows
            has_accounts=True,
            has_paces=True,
        )
        self.knows_customers = self.counts_others = self.paces_others = True


class Snapshots:
    """Holds the snapshot in force. `swap` is the only way to another one."""

    def __init__(self, first: Snapshot) -> None:
        self.current = first

    def swap(self, following: Snapshot) -> None:
        if following.number <= self.current.number:
            raise ValueError("a snapshot is only replaced by a later one")
        self.current = following


# --- binding -------------------------------------------------------------------------------------------------------


def digest_of(key: str) -> bytes:
    """How a virtual key is stored: SHA-256 of all of it, `sk-` included, unsalted, as LiteLLM does."""
    return sha256(key.encode()).digest()


def deployment_id(entry: ModelEntry) -> str:
    """Stable over key rotation and the order of settings: made of what identifies the deployment."""
    if entry.id:
        return entry.id
    seed = [entry.model_name, entry.provider_model, entry.api_base, entry.api_version, entry.place]
    return sha256(json.encode(seed)).hexdigest()


class Binder:
    """Turns `model_list` entries into deployments. Health and pace outlive a snapshot: they are handed in, by deployment id."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        *,
        resolve: Callable[[str, str | None, Callable[[str], str | None]], tuple[Provider, str]],
        parse_url: Callable[[str, Tls], tuple[Origin, str]],
        custom_price: Callable[..., Price | None],
        health: dict[str, Health],
        paces: dict[str, Pace],
        signers: dict[str, tuple[object, Signer]],
        local: Callable[[str], tuple[str, Secret] | None],
        user_agent: str,
        operations: tuple[str, ...],
        new_pace: Callable[[str, str], Pace] = lambda scope, id: Pace(),
        accounts_of: Callable[[ModelEntry, str, str], tuple[Account, ...]] = lambda entry, provider, id: (),
    ) -> None:
        self.config = config
        self.catalog = catalog
        self._resolve = resolve
        self._parse_url = parse_url
        self._custom_price = custom_price
        self._health = health
        self._paces = paces
        self._signers = signers
        self._new_pace = new_pace
        self._local = local
        self._user_agent = user_agent
        self._operations = operations
        self._accounts_of = accounts_of

    def bind(self, entry: ModelEntry, model_name: str, provider_model: str) -> Deployment:
        """Raises LookupError (UnknownProvider) when nobody is known to serve `provider_model`."""
        provider, target = self._resolve(provider_model, entry.provider, self.catalog.infer_provider)
        provider = provider.at(entry, self.config.environment)
        target = provider.model_name(target)
        d = Deployment()
        d.entry = entry
        d.model_name = model_name
        d.provider = provider
        d.provider_model = provider_model
        d.target = target
        d.target_json = Raw(json.encode(target))
        d.id = deployment_id(entry) if "*" not in entry.model_name else deployment_id(entry) + ":" + model_name
        d.health = self._health.setdefault(d.id, Health())
        d.accounts = self._accounts_of(entry, provider.name, deployment_id(entry))
        d.pace = None
        if entry.rpm is not None or entry.tpm is not None or entry.parallel_max is not None:
            d.pace = self._paces.get(d.id) or self._paces.setdefault(d.id, self._new_pace("deployment", d.id))
            d.pace.change(rpm=entry.rpm, tpm=entry.tpm, parallel_max=entry.parallel_max)
        d.weight = entry.weight if entry.weight is not None else float(entry.rpm or 1)
        d.order = entry.order if entry.order is not None else 1
        d.usage_refused = not provider.introduction.stream_usage
        d.facts = self.catalog.find(provider.name, entry.base_model or target)
        d.price = self._price(d)
        drop = entry.drop_params if entry.drop_params is not None else self.config.params.drop_params
        d.drop_unsupported = drop is not False
        d.defaults = {name: Raw(json.encode(value)) for name, value in entry.defaults.items()}
        d.extra_body = {name: Raw(json.encode(value)) for name, value in entry.extra_body.items()}
        routing = self.config.routing
        total_s = entry.timeout_s if entry.timeout_s is not None else routing.timeout_s
        stall_s = entry.stream_timeout_s if entry.stream_timeout_s is not None else routing.stream_timeout_s
        stall_s = min(total_s, stall_s) if stall_s is not None else min(total_s, STALL_S_DEFAULT)
        d.deadlines = Deadlines(
            connect_s=min(CONNECT_S, total_s), first_byte_s=stall_s, idle_s=stall_s, total_s=total_s
        )
        d.missing = d.signer = d.wire = None
        d.heads = {}
        d.wires = {}
        try:
            self._address(d)
        except MissingSetting as missing:
            d.missing = missing
            d.origin = Origin("http", "invalid", 0)
            d.public_base = ""
        d.written = (d.model_name, d.id, provider.name, provider_model, d.public_base)
        d.about_head = b"".join(
            b"%b: %b\r\n" % (name, _header_text(value))
            for name, value in (
                (b"x-litellm-model-id", d.id),
                (b"x-litellm-model-name", d.provider_model),
                (b"x-litellm-model-api-base", d.public_base),
                (b"x-litellm-model-group", d.model_name),
            )
            if value
        )
        return d

    def _price(self, d: Deployment) -> Price | None:
        """What is written, else what is listed for the place that its calls go to; on the terms of the provider."""
        entry, provider = d.entry, d.provider.name
        if provider == "local" and not entry.prices:
            return self._custom_price({"input_cost_per_token": "0", "output_cost_per_token": "0"}, None)
        terms = terms_for(provider, self.config.money)
        if entry.prices:
            return self._custom_price(entry.prices, d.facts, mode=entry.mode, terms=terms)
        location = entry.provider_params.get("vertex_location")
        place = place_of(
            provider, urlsplit(entry.api_base or "").hostname or "", location if isinstance(location, str) else ""
        )
        return listed_price(d.facts, place=place, terms=terms)

    def _address(self, d: Deployment) -> None:
        environment = self.config.environment
        network = self.config.network
        verify = network.ssl_verify if d.entry.ssl_verify is None else d.entry.ssl_verify
        tls = trusting(
            verify,
            cert_file=d.entry.ssl_certificate or network.ssl_certificate,
            key_file=d.entry.ssl_key or network.ssl_key,
        )
        entry = d.entry
        if d.provider.name == "local" and not entry.api_base:
            running = self._local(d.target)
            if running is None:
                pull = f"tollway models pull {d.target}"
                said = (
                    "its model does not run here"
                    if d.target.endswith(".gguf")
                    else f"its model is not here: run `{pull}`"
                )
                raise MissingSetting("local", (), "its model", said=said)
            entry = replace(entry, api_base=running[0], api_key=running[1])
        base = d.provider.base_url(entry, environment)
        secret = d.provider.key(entry, environment)
        d.origin, base_path = self._parse_url(base, tls)
        d.public_base = base.split("?", 1)[0]
        standing = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in (
                (b"host", _host_header(d.origin)),
                (b"user-agent", self._user_agent.encode()),
                (b"accept-encoding", b"identity"),
                *d.provider.headers(secret, entry),
            )
        )

        def head(path: str, operation: str = "chat") -> bytes:
            own = b"".join(b"%b: %b\r\n" % line for line in d.provider.operation_headers(operation, secret, entry))
            return b"POST %b%b HTTP/1.1\r\n%b%b" % (base_path.encode(), path.encode(), standing, own)

        for operation in self._operations:
            path = d.provider.path(operation, d.target)
            if path is not None:
                d.heads[operation] = head(path, operation)
        for dialect in d.provider.dialects(d.target):
            whole = d.provider.chat_path(dialect, d.target, streaming=False)
            streamed = d.provider.chat_path(dialect, d.target, streaming=True)
            if whole is not None and streamed is not None:
                d.wires[dialect] = ChatWire(dialect, head(whole), head(streamed))
        d.wire = next(iter(d.wires.values()), None)
        mode = entry.mode or (d.facts.mode if d.facts is not None else "")
        only = ONLY_DIALECTS.get(mode, "")
        if only in d.wires:
            d.wire = d.wires[only]
            d.wires.pop("openai_chat", None)
        if d.wire is not None:
            d.heads["chat"] = d.wire.head
        trusted = replace(entry, ssl_verify=verify, ssl_certificate=tls.cert_file, ssl_key=tls.key_file)
        d.signer = self._signer(d, trusted)

    def _signer(self, d: Deployment, entry: ModelEntry) -> Signer | None:
        """The signer that this deployment had before, as long as nothing that it rests on has changed."""
        rests_on = (entry, self.config.environment)
        known = self._signers.get(d.id)
        if known is not None and known[0] == rests_on:
            return known[1]
        signer = d.provider.signer(*rests_on)
        if signer is not None:
            self._signers[d.id] = (rests_on, signer)
        return signer


def _host_header(origin: Origin) -> bytes:
    standard = (origin.scheme, origin.port) in (("http", 80), ("https", 443))
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return (host if standard else f"{host}:{origin.port}").encode("idna" if not host.isascii() else "ascii")


def _header_text(value: str) -> bytes:
    return re.sub(r"[^\x20-\x7e]", "?", value).encode()


def wildcard_pattern(name: str) -> re.Pattern[str]:
    """`openai/*` as a pattern whose groups are what the stars stood for."""
    return re.compile("(.*)".join(re.escape(piece) for piece in name.split("*")))
