"""Puts the pieces together: a Config in, an ASGI app out. The only file that knows every room.

`prepare` is the parent's part, done once before any worker serves: the data folder and the master key. `create_app` makes one
worker's app, which opens what lives long when the server starts it (ASGI lifespan) and closes it again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tollway import __version__
from tollway.callers import Callers, reset_us
from tollway.calls import Secret
from tollway.config.changes import Changes, changes, with_fixed
from tollway.config.places import DATA_FILE, bodies_path, data_folder, master_key_path
from tollway.config.redis import redis_is_from_environment, redis_place
from tollway.config.settings import Config, ModelEntry
from tollway.dialects import anthropic_messages, openai_chat
from tollway.dispatch import Dispatch
from tollway.downstream.line import Hot
from tollway.endpoints.pass_through import FAMILIES
from tollway.endpoints.realtime import Sessions
from tollway.errors import ConfigError, StorageError, TollwayError
from tollway.exporters.console import Console
from tollway.gateway import Gateway
from tollway.identities import Identities, TokenCallers
from tollway.identities.signed_in import SignedIn
from tollway.ledger.budgets import Account, Budgets
from tollway.ledger.leases import LeasedBudgets
from tollway.ledger.ledger import Ledger, new_epoch
from tollway.ledger.pace import Pace
from tollway.ledger.raises import Raises
from tollway.ledger.sharing import SharedPaces
from tollway.operations import Operation, pass_through, responses
from tollway.operations.audio import Speech, Transcriptions
from tollway.operations.chat import ANTHROPIC_MESSAGES, Chat
from tollway.operations.completions import Completions
from tollway.operations.count_tokens import CountMessageTokens
from tollway.operations.embeddings import Embeddings
from tollway.operations.generate import CountTokens, Generate
from tollway.operations.images import Images, Variations
from tollway.operations.moderations import Moderations
from tollway.operations.realtime import Realtime
from tollway.operations.rerank import Rerank
from tollway.overlay import stored_entries
from tollway.policies.report import Report
from tollway.pricing.catalog import CATALOG_FILE, Catalog, custom_price
from tollway.pricing.catalog import load as load_catalog
from tollway.providers import OPERATIONS, Signer, registry
from tollway.providers.following import Following
from tollway.routing.choice import Health
from tollway.snapshot import Binder, Caller, Deployment, Model, SeenBy, Snapshot, Snapshots, digest_of, wildcard_pattern
from tollway.storage import (
    KEY_SCOPE,
    Spent,
    Storage,
    is_postgres,
    open_storage,
    shown_url,
    sqlite_path,
)
from tollway.storage.benches import Benches
from tollway.storage.bodies import Bodies
from tollway.storage.owners import Owners
from tollway.storage.people import People
from tollway.storage.redis_shares import RedisShares
from tollway.storage.responses import Responses
from tollway.storage.shares import Lessor
from tollway.upkeep import Upkeep
from tollway.upstream.client import HttpClient
from tollway.upstream.proxying import ProxySettings
from tollway.upstream.websocket import SocketClient
from tollway.upstream.wire import Origin, Tls, Upstream

log = logging.getLogger("tollway")

RESPONSES_FOLDER = "responses"
OWNED_FILE = "owned.notes"
BENCHES_FOLDER = "benches"
GC_THRESHOLD = 20_000
REDIS_MISSING = "Redis is named, and asked with a package that is not here: pip install 'tollway[redis]'"
#: A pause before a storage that does not answer is asked for changed keys again.
STORAGE_AWAY_S = 0.5


class Dialects(dict[str, Any]):
    """The modules of tollway.dialects by name, each imported when it is first spoken."""

    def __missing__(self, name: str) -> Any:
        module = self[name] = import_module(f"tollway.dialects.{name}")
        return module


DIALECTS = Dialects({openai_chat.NAME: openai_chat, anthropic_messages.NAME: anthropic_messages})


class WorkerPlace(Struct, frozen=True):
    """Which of how many workers this one is."""

    index: int = 0
    count: int = 1


class ConfigState(Struct, frozen=True):
    """What became of the configuration. Times are seconds since 1970; `refused` says what is wrong with the one that was read
    last and is not in force, `waiting_for_start` which settings of the one in force only a start takes up.
    """

    in_force_since: float
    waiting_for_start: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    refused_at: float = 0.0


class Prepared(Struct):
    """What the parent found or made, for whoever announces the gateway."""

    config: Config
    data_path: str
    bodies_path: Path | None
    master_key_made: Secret | None
    master_key_path: Path | None
    models: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(config: Config) -> Prepared:
    """Makes the data folder and, where none is set, the master key. Raises ConfigError when the configuration cannot be bound."""
    folder = data_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    made: Secret | None = None
    key_path: Path | None = None
    if config.access.master_key is None:
        key_path = master_key_path(config)
        made, key = _standing_key(key_path)
        config = replace(config, access=replace(config.access, master_key=key, master_key_made=True))
    catalog, warnings_of_prices = catalog_in_force(folder)
    warnings = [*config.warnings, *warnings_of_prices, *_check(config, catalog)]
    return Prepared(
        config=config,
        data_path=_shown_database(config, folder),
        bodies_path=bodies_path(config),
        master_key_made=made,
        master_key_path=key_path,
        models=tuple(dict.fromkeys(entry.model_name for entry in config.models)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _check(config: Config, catalog: Catalog) -> list[str]:
    """Binds everything for nobody to call; returns what is worth a warning. Raises ConfigError with all problems at once."""
    problems: list[str] = []
    warnings: list[str] = []
    try:
        if redis_is_missing(config):
            warnings.append(f"rate limits are not shared: {REDIS_MISSING}")
    except ConfigError as error:
        problems.extend(error.problems)
    binder = _binder(config, catalog, {}, {}, {}, lambda name: None)
    for entry in config.models:
        if "*" in entry.provider_model:
            continue
        try:
            deployment = binder.bind(entry, entry.model_name, entry.provider_model)
        except registry.UnknownProvider as error:
            problems.append(f"{entry.place}: {error}" if entry.place else str(error))
            continue
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if deployment.missing is not None and deployment.provider.name != "local":
            warnings.append(f"{entry.model_name}: {deployment.missing}")
    if problems:
        raise ConfigError(problems)
    return warnings


async def take_over_the_dead(config: Config) -> int:
    """Brings the storage up to date, moves into it what dead workers wrote, and ends their leases; returns how many rows were
    new. Raises StorageError. The parent's part, before its workers serve and whenever one of them died.
    """
    storage = await _open_storage(config)
    try:
        ledger = Ledger(
            spend=storage.spend,
            leases=storage.leases,
            budgets=Budgets(wait_s_max=0.0, clock=time.time),
            directory=data_folder(config) / "journal",
            epoch=0,
            fsync="never",
            on_trouble=log.error,
        )
        return await ledger.take_over_the_dead()
    finally:
        await storage.close()


#: Where a local model answers and the token it wants, by its name; None while it does not run.
FindLocal = Callable[[str], tuple[str, Secret] | None]


def create_app(
    config: Config,
    *,
    worker: WorkerPlace | None = None,
    local: FindLocal = lambda name: None,
    upstream: Upstream | None = None,
    storage: Storage | None = None,
    lessor: Lessor | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> App:
    """One worker's ASGI app. Nothing is opened before the server starts it.

    An `upstream` or `storage` that is handed in serves instead of those that the configuration asks for, a `lessor` where it names
    no Redis; the app closes them all.
    """
    return App(
        config,
        worker or WorkerPlace(),
        local,
        upstream=upstream,
        storage=storage,
        lessor=lessor,
        monotonic=monotonic,
        wall=wall,
    )


class App:
    """The gateway as an ASGI app. Owns storage, ledger and upstream from lifespan's startup to its shutdown."""

    def __init__(
        self,
        config: Config,
        worker: WorkerPlace,
        local: FindLocal,
        *,
        upstream: Upstream | None,
        storage: Storage | None,
        lessor: Lessor | None,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.config = config
        self._local = local
        self._given_upstream = upstream
        self._given_storage = storage
        self._given_lessor = lessor
        self._monotonic = monotonic
        self._wall = wall
        self._building = asyncio.Lock()  # one snapshot after the other: a later one must not be built from older keys
        # For whoever makes the server: bounds of what clients may send, and who answers which path without ASGI in between.
        self.bounds = config.bounds
        self.hot = Hot()
        self.worker = worker
        self._key_changes_seen = 0
        self.catalog, _ = catalog_in_force(data_folder(config))  # what is wrong with it, `prepare` said
        self.console = Console(as_json=config.logs.json)
        self.told = Report((self.console.tell,))
        self.bodies: Bodies | None = None
        self.kept: Responses | None = None
        self.folder = data_folder(config)
        self.bodies_folder = bodies_path(config)
        self._health: dict[str, Health] = {}
        self._paces: dict[tuple[str, str], Pace] = {}
        self.raises = Raises(wall=wall)
        self._deployment_paces: dict[str, Pace] = {}
        self._spent: dict[tuple[str, str], Spent] = {}
        self._signers: dict[str, tuple[object, Signer]] = {}
        self.sharing: SharedPaces | None = None
        self.config_state = ConfigState(in_force_since=wall())
        self.identities: Identities | None = None
        self._signed_in = SignedIn(wall)
        self._closing: list[asyncio.Task[None]] = []
        self._cold: Any = None
        self.dispatch: Dispatch | None = None
        self.storage: Storage
        self.ledger: Ledger
        self.snapshots: Snapshots
        self.upstream: Upstream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.dispatch is not None and scope["type"] != "lifespan":
            await self.dispatch(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise RuntimeError("the app was not started: the server must speak ASGI's lifespan protocol")

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.open()
                except TollwayError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                _settle_memory()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # --- opening and closing

    async def open(self) -> None:
        """Opens storage, replays what dead workers left, binds the first snapshot. Never waits for the network."""
        config = self.config
        folder = data_folder(config)
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = self._given_storage or await _open_storage(config)
        epoch = new_epoch(self._now_us())
        self.budgets = self._make_budgets(epoch)
        self.ledger = Ledger(
            spend=self.storage.spend,
            leases=self.storage.leases,
            leased=self.leased,
            host=socket.gethostname(),
            budgets=self.budgets,
            directory=folder / "journal",
            epoch=epoch,
            fsync=config.storage.journal_fsync,
            journal_bytes_max=config.storage.journal_mb_max << 20,
            serve_when_full=config.storage.journal_full == "serve",
            on_trouble=log.error,
        )
        await self.ledger.open()
        if isinstance(self.budgets, LeasedBudgets):
            self.budgets.open(self.ledger.accounts, self.ledger.drain_soon)
        self.console.open()
        if self.bodies_folder is not None:
            logs = config.logs
            self.bodies = Bodies(self.bodies_folder, epoch, mb_max=logs.bodies_mb_max, days_max=logs.bodies_days_max)
            self.bodies.open()
        if config.storage.responses_mb_max:
            bound = config.storage
            self.kept = Responses(
                folder / RESPONSES_FOLDER, mb_max=bound.responses_mb_max, days_max=bound.responses_days_max
            )
            self.kept.open()
        self.owners = Owners(folder / OWNED_FILE, turns_over=self.worker.index == 0)
        network = config.network
        self.upstream = self._given_upstream or HttpClient(
            proxies=ProxySettings(network.https_proxy, network.http_proxy, network.no_proxy)
        )
        self.sharing = self._make_sharing(epoch)
        self._gateway_pace = self._new_pace("gateway", "")
        self.snapshots = Snapshots(await self._build(config, number=1))
        gateway = Gateway(
            upstream=Following(self.upstream),
            ledger=self.ledger,
            budgets=self.budgets,
            told=self.told,
            dialects=DIALECTS,
            bodies=self.bodies,
            monotonic=self._monotonic,
            wall=self._wall,
        )
        self.operations = operations(self.kept, self.owners)
        self.dispatch = Dispatch(
            gateway=gateway,
            snapshots=self.snapshots,
            operations=self.operations,
            epoch=epoch,
            monotonic=self._monotonic,
            wall=self._wall,
            cold=self._management,
            sessions=Sessions(
                operation=Realtime(openai_chat),
                opener=SocketClient(proxies=ProxySettings(network.https_proxy, network.http_proxy, network.no_proxy)),
                upstream=self.upstream,
                ledger=self.ledger,
                budgets=self.budgets,
                told=self.told,
                monotonic=self._monotonic,
                wall=self._wall,
            ),
        )

        self.dispatch.put_hot(self.hot)
        self.upkeep = Upkeep(
            accounts=self.ledger.accounts, snapshots=self.snapshots, storage=self.storage, wall=self._wall
        )
        if self.worker.index == 0:
            self.upkeep.open()
        self.opened_at = self._wall()
        self.benches = Benches(
            folder / BENCHES_FOLDER,
            self._health,
            worker=self.worker.index,
            workers=self.worker.count,
            monotonic=self._monotonic,
            wall=self._wall,
        )
        self.benches.open()
        self.raises.open(self._let_in_waiting)
        self._following = asyncio.get_running_loop().create_task(self._follow_keys())

    async def close(self) -> None:
        """Calls are over: drains the journal, closes connections and storage."""
        self.dispatch = None
        self.hot.clear()
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.raises.close()
        await self.upkeep.close()
        await self.benches.close()
        if self.identities is not None:
            await self.identities.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self.upstream.close()
        if self.sharing is not None:
            await self.sharing.close()
        if isinstance(self.budgets, LeasedBudgets):
            await self.budgets.close()
        await self.ledger.close()
        await self.console.close()
        if self.bodies is not None:
            await asyncio.to_thread(self.bodies.close)
        await self.owners.close()
        if self.kept is not None:
            await asyncio.to_thread(self.kept.close)
        await self.storage.close()

    @property
    def leased(self) -> bool:
        """Whether others spend the same budgets: further workers here, or those of other hosts on a shared database."""
        return self.worker.count > 1 or self.storage.shared

    def _make_sharing(self, epoch: int) -> SharedPaces | None:
        """Where others hold callers to the same limits: through Redis, else through the parent of this host's workers."""
        place = redis_place(self.config)
        if place is not None and redis_is_missing(self.config):
            place = None
        lessor = RedisShares(place) if place is not None else self._given_lessor
        if lessor is None:
            return None
        sharing = SharedPaces(
            lessor,
            process=f"{socket.gethostname()}/{os.getpid()}/{epoch:x}",
            processes=self.worker.count * (self.config.redis.hosts if place is not None else 1),
            refuse=self.config.redis.refuse,
            clock=self._monotonic,
        )
        sharing.open()
        return sharing

    def _make_budgets(self, epoch: int) -> Budgets:
        money = self.config.money
        if not self.leased:
            return Budgets(
                wait_s_max=money.hold_wait_s_max, clock=self._wall, exceeded_status=money.budget_exceeded_status
            )
        return LeasedBudgets(
            store=self.storage.leases,
            epoch=epoch,
            workers=self.worker.count,
            wait_s_max=money.hold_wait_s_max,
            clock=self._wall,
            exceeded_status=money.budget_exceeded_status,
            unleased_when_away=money.unleased_when_away,
        )

    def _management(self) -> Any:
        """The management API, made when somebody first asks for it: FastAPI costs 25 MB and 300 ms."""
        if self._cold is None:
            from tollway import admin
            from tollway.office import AppOffice

            self._cold = admin.build(AppOffice(self))
        return self._cold

    def now_s(self) -> float:
        """Seconds since 1970, by the clock that everything here goes by."""
        return self._wall()

    def _now_us(self) -> int:
        return int(self._wall() * 1_000_000)

    @property
    def where_stored(self) -> str:
        """Where the database is, without who asks it."""
        return _shown_database(self.config, self.folder)

    # --- what is in force

    async def reload(self, config: Config) -> Changes:
        """Puts another configuration in force, whole but for what only a start can change. Returns what is another now.

        Raises ConfigError and changes nothing when it cannot be bound.
        """
        async with self._building:
            before = self.catalog
            what = changes(self.config, config)
            config = with_fixed(self.config, config)
            self.catalog, warnings = await asyncio.to_thread(catalog_in_force, data_folder(config))
            try:
                _check(config, self.catalog)  # before anything that lives longer than a snapshot is touched
                snapshot = await self._build(config, number=self.snapshots.current.number + 1)
            except BaseException:
                self.catalog = before
                raise
            for warning in warnings:
                log.warning("%s", warning)
            self.config = config
            self.snapshots.swap(snapshot)
            money = config.money
            self.budgets.change(wait_s_max=money.hold_wait_s_max, exceeded_status=money.budget_exceeded_status)
            if isinstance(self.budgets, LeasedBudgets):
                self.budgets.unleased_when_away = money.unleased_when_away
                with suppress(StorageError):  # what was leased under a higher limit goes back later then
                    await self.budgets.refresh()
            self.config_state = ConfigState(in_force_since=self._wall(), waiting_for_start=what.fixed)
        self._let_in_waiting()
        return what

    def refuse_config(self, problems: Sequence[str]) -> None:
        """A configuration was read that cannot be put in force: says so to whoever asks."""
        self.config_state = replace(self.config_state, refused=tuple(problems), refused_at=self._wall())

    def bind_once(self, entry: ModelEntry) -> Deployment:
        """As a snapshot would bind it, for nobody to call. Raises ConfigError or LookupError."""
        return bare_binder(self.config, self.catalog).bind(entry, entry.model_name, entry.provider_model)

    async def keys_changed(self) -> None:
        """Puts keys, teams, users and all others in force as the storage has them now, and what they spent: it may have been
        set by hand, or charged again.
        """
        async with self._building, self.ledger.storing_nothing():
            self.snapshots.swap(await self._build(self.config, number=self.snapshots.current.number + 1))
            if isinstance(self.budgets, LeasedBudgets):
                await self.budgets.refresh(self._stored_spend())
            else:
                self.ledger.take_over_spend(self._stored_spend())
        self._let_in_waiting()

    async def _follow_keys(self) -> None:
        """Puts in force what other workers, or other programs on the same storage, change of keys."""
        while True:
            try:
                if await self.storage.next_key_change(self._key_changes_seen) != self._key_changes_seen:
                    await self.keys_changed()  # changes made here are in force already
            except StorageError:
                await asyncio.sleep(STORAGE_AWAY_S)  # the keys in force stay in force
            except Exception:  # whoever follows no longer would serve blocked keys for ever
                log.exception("changed keys could not be put in force")
                await asyncio.sleep(STORAGE_AWAY_S)

    def _stored_spend(self) -> dict[tuple[str, str], Spent]:
        """What every account spent as the snapshot in force read it, by its scope and id."""
        stored = dict(self._spent)
        for caller in self.snapshots.current.keys.values():
            if caller.key is not None:
                record, token = caller.key.record, caller.key.record.token.hex()
                stored[KEY_SCOPE, token] = Spent(
                    KEY_SCOPE, token, record.spend_nano, record.total_spend_nano, record.period_start_us
                )
        return stored

    def _let_in_waiting(self) -> None:
        """A limit that was raised may be what calls wait for; one that was lowered refuses those that it has no room for."""
        for account in list(self.ledger.accounts.values()):
            if account.waiters:
                self.budgets.let_in(account, self._wall())

    async def _build(self, config: Config, *, number: int) -> Snapshot:
        key_changes = await self.storage.key_changes()
        predecessors = await self.storage.keys.predecessors()
        for old in predecessors:  # a key that got another token keeps its account, with what is held on it
            self._rename_account(old.old, old.token)
        self._spent = {(one.scope, one.id): one for one in await self.storage.spend.all_spent()}
        people = await self.storage.people.load()
        callers = self._callers(config, people)
        self._gateway_pace.change(rpm=None, tpm=None, parallel_max=config.bounds.parallel_max)
        binder = _binder(
            config,
            self.catalog,
            self._health,
            self._deployment_paces,
            self._signers,
            self._local,
            new_pace=self._new_pace,
            accounts_of=callers.of_deployment,
        )
        grouped: dict[str, list[Deployment]] = {}
        wildcards = []
        for entry in config.models:
            if "*" in entry.model_name:
                wildcards.append((wildcard_pattern(entry.model_name), entry))
            else:
                deployment = binder.bind(entry, entry.model_name, entry.provider_model)
                grouped.setdefault(entry.model_name, []).append(deployment)
        for entry in stored_entries(people, config):
            try:
                if "*" in entry.model_name:
                    wildcards.append((wildcard_pattern(entry.model_name), entry))
                else:
                    deployment = binder.bind(entry, entry.model_name, entry.provider_model)
                    grouped.setdefault(entry.model_name, []).append(deployment)
            except (ConfigError, registry.UnknownProvider) as error:
                log.error("the stored model %s (%s) is left out: %s", entry.model_name, entry.id, error)
        wildcards.sort(key=lambda pair: len(pair[1].model_name.replace("*", "")), reverse=True)
        keys: dict[bytes, Caller] = {}
        for record in await self.storage.keys.load_all():
            keys[record.token] = Caller("key", callers.key(record))
        now_us = self._now_us()
        for old in predecessors:
            current = keys.get(old.token)
            if current is not None and current.key is not None and old.until_us > now_us:
                # The same key with an end of its own: nobody makes a new snapshot when a grace period is over.
                keys[old.old] = Caller("key", current.key.until(old.until_us / 1_000_000))
        bearers = self._bearers(config, people, callers)  # before the end: those who were seen keep their accounts
        self._signed_in.keep(people, callers.unkept_key)
        others = callers.others()
        if bearers is not None:  # whoever comes with a token may be one of a team that has no key
            others.has_accounts = others.has_paces = True
        for account in callers.end():  # so that the next start knows when this period ends
            await self.storage.spend.roll_budget(account.scope, account.id, account.period_start_us, reset_us(account))
        self._key_changes_seen = key_changes
        master = config.access.master_key
        return Snapshot(
            number=number,
            config=config,
            catalog=self.catalog,
            models={name: Model(name, tuple(group)) for name, group in grouped.items()},
            wildcards=wildcards,
            keys=keys,
            master_digest=digest_of(master.reveal()) if master else None,
            keyless=config.access.master_key_made,
            gateway_accounts=(callers.gateway,),
            gateway_pace=self._gateway_pace if config.bounds.parallel_max is not None else None,
            bind=binder.bind,
            others=others,
            bearers=bearers,
        )

    def _callers(self, config: Config, people: People) -> Callers:
        return Callers(
            config,
            people,
            self._spent,
            accounts=self.ledger.accounts,
            paces=self._paces,
            raises=self.raises,
            new_pace=self._new_pace,
            wall=self._wall,
        )

    async def signed_in(self, user_id: str, team_id: str) -> Caller:
        """A user who has no key at hand, in one of his teams where `team_id` is not "". Raises Forbidden, StorageError."""
        people = await self.storage.people.load()
        return self._signed_in.caller(people, self._callers(self.config, people).unkept_key, user_id, team_id)

    def seen_by(self, caller: Caller, key: bytes) -> Snapshot:
        """The snapshot in force as a call meets it that shows `key`, and is `caller`'s."""
        return SeenBy(self.snapshots.current, caller, sha256(key).digest())

    def _bearers(self, config: Config, people: People, callers: Callers) -> TokenCallers | None:
        """Those who come with signed tokens, where the configuration takes these."""
        if self.identities is not None and not self.identities.serves(config):
            self._closing.append(asyncio.get_running_loop().create_task(self.identities.close()))
            self.identities = None
        if not config.access.jwt_enabled:
            return None
        if self.identities is None:
            self.identities = Identities(
                config, self.upstream, self.storage, wall=self._wall, monotonic=self._monotonic
            )
            self.identities.open()
        return TokenCallers(self.identities, people, callers.unkept_key)

    def _new_pace(self, scope: str, id: str) -> Pace:
        if self.sharing is None:
            return Pace(processes=self.worker.count, name=(scope, id))
        return Pace(sharing=self.sharing, name=(scope, id))

    def _rename_account(self, old: bytes, new: bytes) -> None:
        self.ledger.renamed[old.hex()] = new.hex()
        account = self.ledger.accounts.pop((KEY_SCOPE, old.hex()), None)
        if account is not None:
            account.id = new.hex()
            self.ledger.accounts.setdefault((KEY_SCOPE, account.id), account)
        if (pace := self._paces.pop(("api_key", old.hex()), None)) is not None:
            self._paces.setdefault(("api_key", new.hex()), pace)
            if self.sharing is not None:
                self.sharing.rename(pace, ("api_key", new.hex()))


# --- pieces --------------------------------------------------------------------------------------------------------


def _settle_memory() -> None:
    """What was loaded until now stays to the end: the collector need not look at it again. Calls make few cycles, so that
    rarer collections cost no memory to speak of; at the usual threshold they cost an eighth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def operations(kept: Responses | None = None, owners: Owners | None = None) -> dict[str, Operation]:
    """Every kind of call, by name."""
    every: tuple[Operation, ...] = (
        Chat(openai_chat, DIALECTS),
        Embeddings(openai_chat),
        Images(openai_chat, name="images_generations", call_type="aimage_generation", form_taken=False),
        Images(openai_chat, name="images_edits", call_type="aimage_edit", form_taken=True),
        Speech(openai_chat),
        Transcriptions(openai_chat),
        Transcriptions(openai_chat, name="audio_translations", call_type="atranslation"),
        Variations(openai_chat),
        Moderations(openai_chat),
        Rerank(openai_chat),
    )
    messages = Chat(anthropic_messages, DIALECTS, ANTHROPIC_MESSAGES, call_type="anthropic_messages")
    return {
        **{operation.name: operation for operation in every},
        "messages": messages,
        "completions": Completions(DIALECTS),
        "generate_content": Generate(DIALECTS, streaming=False),
        "stream_generate_content": Generate(DIALECTS, streaming=True),
        "count_tokens": CountTokens(DIALECTS),
        "count_message_tokens": CountMessageTokens(DIALECTS),
        **responses.operations(DIALECTS, kept),
        **pass_through.operations(FAMILIES, DIALECTS, owners),
    }


def redis_is_missing(config: Config) -> bool:
    """Whether the environment names a Redis that cannot be asked. Raises ConfigError where the file itself does."""
    if redis_place(config) is None or find_spec("redis") is not None:
        return False
    if redis_is_from_environment(config):  # it may be meant for another program
        return True
    raise ConfigError([REDIS_MISSING])


async def stored_in(config: Config) -> Storage:
    """The storage of a gateway with this configuration, opened, and made where it is not there. Raises StorageError."""
    data_folder(config).mkdir(parents=True, exist_ok=True)
    return await _open_storage(config)


async def _open_storage(config: Config) -> Storage:
    return await open_storage(_database(config, data_folder(config)))


def _database(config: Config, folder: Path) -> str | Path:
    """Where keys and spend are kept: at the URL that is configured, else in a file in the data folder."""
    url = config.storage.database_url
    return folder / DATA_FILE if url is None else url.reveal()


def _shown_database(config: Config, folder: Path) -> str:
    where = _database(config, folder)
    return shown_url(str(where)) if is_postgres(where) else str(sqlite_path(where))


def _standing_key(path: Path) -> tuple[Secret | None, Secret]:
    """(the key if it was made just now, the key). Readable by its owner alone."""
    try:
        return None, Secret(path.read_text().strip())
    except FileNotFoundError:
        key = "sk-" + secrets.token_urlsafe(24)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(key + "\n")
        return Secret(key), Secret(key)
    except OSError as error:
        raise StorageError(f"the master key cannot be read from {path}: {error}") from error


def catalog_in_force(folder: Path) -> tuple[Catalog, tuple[str, ...]]:
    """The price list that was put into the data folder, else the one that ships or is newer; and what was wrong with the former."""
    shipped = load_catalog(resources.files("tollway.pricing").joinpath(CATALOG_FILE).read_bytes())
    path = folder / CATALOG_FILE
    try:
        fetched = load_catalog(path.read_bytes())
    except FileNotFoundError:
        return shipped, ()
    except (OSError, ConfigError) as error:
        return shipped, (f"{path} cannot be used, so prices are those of {shipped.as_of} that ship: {error}",)
    return (fetched if fetched.as_of >= shipped.as_of else shipped), ()


def bare_binder(config: Config, catalog: Catalog) -> Binder:
    """Binds entries for whoever wants to know what they come to, and calls nobody."""
    return _binder(config, catalog, {}, {}, {}, lambda name: None)


def _binder(
    config: Config,
    catalog: Catalog,
    health: dict[str, Health],
    paces: dict[str, Pace],
    signers: dict[str, tuple[object, Signer]],
    local: FindLocal,
    *,
    new_pace: Callable[[str, str], Pace] = lambda scope, id: Pace(),
    accounts_of: Callable[[ModelEntry, str, str], tuple[Account, ...]] = lambda entry, provider, id: (),
) -> Binder:
    return Binder(
        config,
        catalog,
        resolve=registry.resolve,
        parse_url=parse_url,
        custom_price=custom_price,
        health=health,
        paces=paces,
        signers=signers,
        local=local,
        user_agent=f"tollway/{__version__}",
        operations=OPERATIONS,
        new_pace=new_pace,
        accounts_of=accounts_of,
    )


def parse_url(url: str, tls: Tls) -> tuple[Origin, str]:
    """A base URL as who is called and the path before every operation's. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError([f"{url.split('?', maxsplit=1)[0]!r} is not an http or https URL"])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, parts.hostname, port, tls), parts.path.rstrip("/")
