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
from typing import Any

from msgspec import Raw, Struct, json
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.ledger.budgets import Account
from tollway.ledger.pace import Pace
from tollway.pricing.catalog import Catalog, ModelFacts
from tollway.pricing.price import Price
from tollway.providers import MissingSetting, Provider
from tollway.routing.choice import Health
from tollway.upstream.wire import Deadlines, Origin, Tls

#: Models made from a wildcard entry, kept so that they are bound once.
WILDCARD_MODELS_MAX = 4096
CONNECT_S = 10.0
#: How much a model is taken to write at most where the catalog does not know.
OUTPUT_TOKENS_OTHERWISE = 4096
FALLBACK_KINDS = ("general", "context_window", "content_policy")
#: How long a provider may say nothing, where the configuration does not tell: reasoning models think for minutes.
STALL_S_DEFAULT = 600.0


class Deployment:
    """One entry that can serve a model: everything that can be worked out before a call is worked out here."""

    __slots__ = (
        "about_head",
        "deadlines",
        "defaults",
        "dialect",
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
        "target",
        "target_json",
        "usage_refused",
        "weight",
    )

    about_head: bytes  # response header lines that name the deployment
    deadlines: Deadlines
    defaults: dict[str, Raw]  # parameters of the configuration, under those of the request
    dialect: str
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
    target: str  # the model's name at the provider
    target_json: Raw
    usage_refused: bool  # the provider does not know `stream_options`
    weight: float

    def head(self, operation: str) -> bytes:
        """Request line and standing headers for an operation, each line ended by CRLF. Holds the provider's key."""
        return self.heads[operation]


class Model:
    """A public name and who can serve it. `reachable` are all prices that a call to it may come to, `output_tokens_max` the most
    that it may write without a limit of its own: fallbacks included."""

    __slots__ = ("blocked", "deployments", "fallbacks", "free", "name", "output_tokens_max", "reachable", "unpriced")

    def __init__(self, name: str, deployments: tuple[Deployment, ...]) -> None:
        self.name = name
        self.deployments = deployments
        self.fallbacks: tuple[str, ...] = ()
        self.reachable: tuple[Price, ...] = ()
        self.unpriced = False
        self.free = False  # whatever a call to it comes to costs nothing
        self.blocked = all(deployment.entry.blocked for deployment in deployments)
        self.output_tokens_max = OUTPUT_TOKENS_OTHERWISE


class Key:
    """A virtual key as the request path needs it."""

    __slots__ = (
        "access",
        "accounts",
        "aliases",
        "allowed_routes",
        "blocked",
        "digest",
        "expires_at",
        "label",
        "pace",
        "record",
        "spend_account",
        "tags",
        "team_id",
        "user_id",
    )

    def __init__(self, record: Any, account: Account, accounts: tuple[Account, ...], pace: Pace | None) -> None:
        self.record = record
        self.digest: bytes = record.token
        self.label: str = record.key_alias or record.key_name
        self.spend_account = account
        self.accounts = accounts
        self.pace = pace
        self.blocked: bool = bool(record.blocked)
        self.expires_at: float | None = None if record.expires_us is None else record.expires_us / 1e6
        self.user_id: str = record.user_id or ""
        self.team_id: str = record.team_id or ""
        fields = record.fields
        self.aliases: dict[str, str] = fields.get("aliases") or {}
        self.tags: tuple[str, ...] = tuple((fields.get("metadata") or {}).get("tags") or ())
        self.access = ModelAccess(fields.get("models") or ())
        self.allowed_routes: tuple[str, ...] = tuple(fields.get("allowed_routes") or ())


class ModelAccess:
    """Which models a key may call: names, access groups and patterns; nothing named means all."""

    __slots__ = ("everything", "names", "patterns")

    def __init__(self, names: Iterable[str]) -> None:
        listed = [name for name in names if name not in ("all-team-models", "all-proxy-models", "*")]
        named = list(names)
        self.everything = not named or any(name in ("all-proxy-models", "*", "all-team-models") for name in named)
        self.names = frozenset(name for name in listed if "*" not in name)
        self.patterns = tuple(re.compile(translate(name)) for name in listed if "*" in name)

    def allows(self, name: str, groups: Iterable[str] = ()) -> bool:
        if self.everything or name in self.names:
            return True
        return any(p.match(name) for p in self.patterns) or any(group in self.names for group in groups)


class Caller(Struct, frozen=True):
    """Who asks. `kind` is "key", "master" or "anonymous" (keyless, on loopback only)."""

    kind: str
    key: Key | None = None

    @property
    def is_admin(self) -> bool:
        return self.kind == "master"


MASTER = Caller("master")
ANONYMOUS = Caller("anonymous")


class Snapshot:
    """One numbered state of everything. Nothing in it changes, but for the bounded memory of wildcard models."""

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
    ) -> None:
        self.number = number
        self.config = config
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

    def listed(self, access: ModelAccess | None = None) -> list[str]:
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
        model.reachable = tuple(prices.values())
        model.free = all(price.free for price in model.reachable)
        model.output_tokens_max = max(limits, default=OUTPUT_TOKENS_OTHERWISE)


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
        local: Callable[[str], tuple[str, Secret] | None],
        user_agent: str,
        operations: tuple[str, ...],
        workers: int = 1,
    ) -> None:
        self.config = config
        self.catalog = catalog
        self._resolve = resolve
        self._parse_url = parse_url
        self._custom_price = custom_price
        self._health = health
        self._paces = paces
        self._workers = workers
        self._local = local
        self._user_agent = user_agent
        self._operations = operations

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
        d.dialect = provider.dialect
        d.id = deployment_id(entry) if "*" not in entry.model_name else deployment_id(entry) + ":" + model_name
        d.health = self._health.setdefault(d.id, Health())
        d.pace = None
        if entry.rpm is not None or entry.tpm is not None or entry.parallel_max is not None:
            d.pace = self._paces.setdefault(d.id, Pace(workers=self._workers))
            d.pace.change(rpm=entry.rpm, tpm=entry.tpm, parallel_max=entry.parallel_max)
        d.weight = entry.weight if entry.weight is not None else float(entry.rpm or 1)
        d.order = entry.order if entry.order is not None else 1
        d.usage_refused = not provider.introduction.stream_usage
        d.facts = self.catalog.find(provider.name, entry.base_model or target)
        d.price = d.facts.price if d.facts else None
        if entry.prices:
            d.price = self._custom_price(entry.prices, d.facts, mode=entry.mode)
        if provider.name == "local" and not entry.prices:
            d.price = self._custom_price({"input_cost_per_token": "0", "output_cost_per_token": "0"}, None)
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
        d.missing = None
        d.heads = {}
        try:
            self._address(d)
        except MissingSetting as missing:
            d.missing = missing
            d.origin = Origin("http", "invalid", 0)
            d.heads = {}
            d.public_base = ""
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

    def _address(self, d: Deployment) -> None:
        environment = self.config.environment
        network = self.config.network
        verify = network.ssl_verify if d.entry.ssl_verify is None else d.entry.ssl_verify
        tls = Tls(
            verify=verify is not False,
            ca_file=verify if isinstance(verify, str) else None,
            cert_file=d.entry.ssl_certificate or network.ssl_certificate,
            key_file=d.entry.ssl_key or network.ssl_key,
        )
        entry = d.entry
        if d.provider.name == "local" and not entry.api_base:
            running = self._local(d.target)
            if running is None:
                raise MissingSetting("local", ("`tollway models pull`",), "its model, which is not there")
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
        d.heads = {}
        for operation in self._operations:
            path = d.provider.path(operation, d.target)
            if path is not None:
                d.heads[operation] = b"POST %b%b HTTP/1.1\r\n%b" % (base_path.encode(), path.encode(), standing)


def _host_header(origin: Origin) -> bytes:
    standard = (origin.scheme, origin.port) in (("http", 80), ("https", 443))
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return (host if standard else f"{host}:{origin.port}").encode("idna" if not host.isascii() else "ascii")


def _header_text(value: str) -> bytes:
    return re.sub(r"[^\x20-\x7e]", "?", value).encode()


def wildcard_pattern(name: str) -> re.Pattern[str]:
    """`openai/*` as a pattern whose groups are what the stars stood for."""
    return re.compile("(.*)".join(re.escape(piece) for piece in name.split("*")))
