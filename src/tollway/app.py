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
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tollway import __version__
from tollway.calls import Secret
from tollway.config import next_reset, parse_duration
from tollway.config.settings import Config
from tollway.dialects import anthropic_messages, openai_chat
from tollway.dispatch import Dispatch
from tollway.downstream.line import Handler
from tollway.errors import ConfigError, StorageError, TollwayError
from tollway.exporters.console import Console
from tollway.gateway import Gateway
from tollway.ledger.budgets import NEVER, Account, Budgets
from tollway.ledger.leases import LeasedBudgets
from tollway.ledger.ledger import Ledger, new_epoch
from tollway.ledger.pace import Pace
from tollway.operations import Operation
from tollway.operations.audio import Speech, Transcriptions
from tollway.operations.chat import ANTHROPIC_MESSAGES, Chat
from tollway.operations.embeddings import Embeddings
from tollway.operations.images import Images
from tollway.policies.report import Report
from tollway.pricing.catalog import CATALOG_FILE, Catalog, custom_price
from tollway.pricing.catalog import load as load_catalog
from tollway.providers import OPERATIONS, registry
from tollway.routing.choice import Health
from tollway.snapshot import Binder, Caller, Deployment, Key, Model, Snapshot, Snapshots, digest_of, wildcard_pattern
from tollway.storage import GLOBAL_SCOPE, KEY_SCOPE, KeyRecord, Storage, open_storage
from tollway.storage.bodies import Bodies
from tollway.upkeep import Upkeep
from tollway.upstream.client import HttpClient
from tollway.upstream.proxying import ProxySettings
from tollway.upstream.wire import Origin, Tls, Upstream

log = logging.getLogger("tollway")

DATA_FILE = "tollway.db"
MASTER_KEY_FILE = "tollway-master-key"
BODIES_FOLDER = "bodies"
GC_THRESHOLD = 20_000
#: How often a worker looks whether somebody else changed keys.
FOLLOW_KEYS_S = 0.5
DIALECTS: dict[str, Any] = {openai_chat.NAME: openai_chat, anthropic_messages.NAME: anthropic_messages}


class WorkerPlace(Struct, frozen=True):
    """Which of how many workers this one is."""

    index: int = 0
    count: int = 1


class Prepared(Struct):
    """What the parent found or made, for whoever announces the gateway."""

    config: Config
    data_path: Path
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
    catalog = _catalog()
    problems, warnings = [], list(config.warnings)
    binder = _binder(config, catalog, {}, {}, lambda name: None)
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
    if _is_postgres(config):
        warnings.append(
            f"PostgreSQL is not spoken yet: keys and spend are kept in {_database(config, folder)}, not at the database URL"
        )
    if problems:
        raise ConfigError(problems)
    return Prepared(
        config=config,
        data_path=_database(config, folder),
        bodies_path=bodies_path(config),
        master_key_made=made,
        master_key_path=key_path,
        models=tuple(dict.fromkeys(entry.model_name for entry in config.models)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


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
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> App:
    """One worker's ASGI app. Nothing is opened before the server starts it.

    An `upstream` or `storage` that is handed in serves instead of those that the configuration asks for; the app closes both.
    """
    return App(
        config,
        worker or WorkerPlace(),
        local,
        upstream=upstream,
        storage=storage,
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
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.config = config
        self._local = local
        self._given_upstream = upstream
        self._given_storage = storage
        self._monotonic = monotonic
        self._wall = wall
        self._building = asyncio.Lock()  # one snapshot after the other: a later one must not be built from older keys
        # For whoever makes the server: bounds of what clients may send, and who answers which path without ASGI in between.
        self.bounds = config.bounds
        self.hot: dict[bytes, Handler] = {}
        self.worker = worker
        self._key_changes_seen = 0
        self.catalog = _catalog()
        self.console = Console(as_json=config.logs.json)
        self.told = Report((self.console.tell,))
        self.bodies: Bodies | None = None
        self.bodies_folder = bodies_path(config)
        self._health: dict[str, Health] = {}
        self._paces: dict[bytes, Pace] = {}
        self._deployment_paces: dict[str, Pace] = {}
        self._gateway_pace = Pace(workers=worker.count)
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
            leased=self.worker.count > 1,
            budgets=self.budgets,
            directory=folder / "journal",
            epoch=epoch,
            fsync=config.storage.journal_fsync,
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
        network = config.network
        self.upstream = self._given_upstream or HttpClient(
            proxies=ProxySettings(network.https_proxy, network.http_proxy, network.no_proxy)
        )
        self.snapshots = Snapshots(await self._build(config, number=1))
        gateway = Gateway(
            upstream=self.upstream,
            ledger=self.ledger,
            budgets=self.budgets,
            told=self.told,
            dialects=DIALECTS,
            bodies=self.bodies,
            monotonic=self._monotonic,
            wall=self._wall,
        )
        self.dispatch = Dispatch(
            gateway=gateway,
            snapshots=self.snapshots,
            operations=operations(),
            epoch=epoch,
            monotonic=self._monotonic,
            wall=self._wall,
            cold=self._management,
        )

        self.hot.update(self.dispatch.hot())
        self.upkeep = Upkeep(
            accounts=self.ledger.accounts, snapshots=self.snapshots, storage=self.storage, wall=self._wall
        )
        if self.worker.index == 0:
            self.upkeep.open()
        self._following = asyncio.get_running_loop().create_task(self._follow_keys())

    async def close(self) -> None:
        """Calls are over: drains the journal, closes connections and storage."""
        self.dispatch = None
        self.hot.clear()
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.upkeep.close()
        await self.upstream.close()
        if isinstance(self.budgets, LeasedBudgets):
            await self.budgets.close()
        await self.ledger.close()
        await self.console.close()
        if self.bodies is not None:
            await asyncio.to_thread(self.bodies.close)
        await self.storage.close()

    def _make_budgets(self, epoch: int) -> Budgets:
        money = self.config.money
        if self.worker.count == 1:
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
        )

    def _management(self) -> Any:
        """The management API, made when somebody first asks for it: FastAPI costs 25 MB and 300 ms."""
        if self._cold is None:
            from tollway import admin
            from tollway.office import AppOffice

            self._cold = admin.build(AppOffice(self))
        return self._cold

    def _now_us(self) -> int:
        return int(self._wall() * 1_000_000)

    # --- what is in force

    async def reload(self, config: Config) -> None:
        """Puts another configuration in force, whole. Raises ConfigError and changes nothing when it cannot be bound."""
        async with self._building:
            snapshot = await self._build(config, number=self.snapshots.current.number + 1)
            self.config = config
            self.snapshots.swap(snapshot)
        self._let_in_waiting()

    async def keys_changed(self, spend_set: Sequence[bytes] = ()) -> None:
        """Puts the keys in force as the storage has them now. Of those in `spend_set` what was spent was set by hand."""
        async with self._building:
            for token in spend_set:
                account = self.ledger.accounts.get((KEY_SCOPE, token.hex()))
                record = await self.storage.keys.get(token)
                if account is not None and record is not None:
                    account.spent, account.total = record.spend_nano, record.total_spend_nano
            self.snapshots.swap(await self._build(self.config, number=self.snapshots.current.number + 1))
            if isinstance(self.budgets, LeasedBudgets):
                await self.budgets.refresh(self._stored_spend())
        self._let_in_waiting()

    async def _follow_keys(self) -> None:
        """Puts in force what other workers, or other programs on the same storage, change of keys."""
        while True:
            await asyncio.sleep(FOLLOW_KEYS_S)
            try:
                if await self.storage.key_changes() != self._key_changes_seen:
                    await self.keys_changed()
            except StorageError:
                continue  # the keys in force stay in force
            except Exception:  # whoever follows no longer would serve blocked keys for ever
                log.exception("changed keys could not be put in force")

    def _stored_spend(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(spent, start of its period) of every key as the snapshot in force read it, by its account's scope and id."""
        records = [caller.key.record for caller in self.snapshots.current.keys.values() if caller.key is not None]
        return {(KEY_SCOPE, record.token.hex()): (record.spend_nano, record.period_start_us) for record in records}

    def _let_in_waiting(self) -> None:
        """A limit that was raised may be what calls wait for."""
        for account in list(self.ledger.accounts.values()):
            if account.waiters:
                self.budgets.let_in(account, self._wall())

    async def _build(self, config: Config, *, number: int) -> Snapshot:
        key_changes = await self.storage.key_changes()
        self._gateway_pace.change(rpm=None, tpm=None, parallel_max=config.bounds.parallel_max)
        binder = _binder(
            config, self.catalog, self._health, self._deployment_paces, self._local, workers=self.worker.count
        )
        grouped: dict[str, list[Deployment]] = {}
        wildcards = []
        for entry in config.models:
            if "*" in entry.model_name:
                wildcards.append((wildcard_pattern(entry.model_name), entry))
            else:
                deployment = binder.bind(entry, entry.model_name, entry.provider_model)
                grouped.setdefault(entry.model_name, []).append(deployment)
        wildcards.sort(key=lambda pair: len(pair[1].model_name.replace("*", "")), reverse=True)
        accounts = await self._gateway_accounts(config)
        predecessors = await self.storage.keys.predecessors()
        for old in predecessors:  # a key that got another token keeps its account, with what is held on it
            self._rename_account(old.old, old.token)
        keys: dict[bytes, Caller] = {}
        for record in await self.storage.keys.load_all():
            keys[record.token] = Caller("key", self._key(record, accounts, config))
        now_us = self._now_us()
        for old in predecessors:
            current = keys.get(old.token)
            if current is not None and old.until_us > now_us:
                keys[old.old] = current
        for scope, name in list(self.ledger.accounts):  # a key that is gone takes its account along
            if scope == KEY_SCOPE and bytes.fromhex(name) not in keys:
                del self.ledger.accounts[scope, name]
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
            gateway_accounts=accounts,
            gateway_pace=self._gateway_pace if config.bounds.parallel_max is not None else None,
            bind=binder.bind,
        )

    async def _gateway_accounts(self, config: Config) -> tuple[Account, ...]:
        """The whole gateway's own budget."""
        known = self.ledger.accounts.get((GLOBAL_SCOPE, ""))
        reset_us = None
        if known is None:
            spent = await self.storage.spend.spent(GLOBAL_SCOPE, "")
            reset_us = spent.reset_us if spent else None
            known = Account(
                GLOBAL_SCOPE,
                "",
                label="Gateway.",
                spent=spent.spend_nano if spent else 0,
                total=spent.total_nano if spent else 0,
                period_start_us=spent.period_start_us if spent else 0,
            )
            self.ledger.accounts[GLOBAL_SCOPE, ""] = known
        money = config.money
        known.limit = _nano(money.max_budget_usd)
        self._set_period(known, config, money.budget_duration, reset_us)
        if known.resets_at != NEVER and reset_us is None:  # so that the next start knows when this period ends
            await self.storage.spend.roll_budget(
                GLOBAL_SCOPE, "", known.period_start_us, round(known.resets_at * 1_000_000)
            )
        return (known,)

    def _rename_account(self, old: bytes, new: bytes) -> None:
        account = self.ledger.accounts.pop((KEY_SCOPE, old.hex()), None)
        if account is not None:
            account.id = new.hex()
            self.ledger.accounts.setdefault((KEY_SCOPE, account.id), account)
            if (pace := self._paces.pop(old, None)) is not None:
                self._paces.setdefault(new, pace)

    def _key(self, record: KeyRecord, standing: tuple[Account, ...], config: Config) -> Key:
        token = record.token.hex()
        account = self.ledger.accounts.get((KEY_SCOPE, token))
        if account is None:
            account = Account(
                KEY_SCOPE,
                token,
                label=f"Key={record.key_alias or ''} ({record.key_name})",
                spent=record.spend_nano,
                total=record.total_spend_nano,
                period_start_us=record.period_start_us,
            )
            self.ledger.accounts[KEY_SCOPE, token] = account
        account.label = f"Key={record.key_alias or ''} ({record.key_name})"
        account.limit = record.max_budget_nano
        self._set_period(account, config, record.budget_duration, record.budget_reset_us, record.last_active_us or 0)
        pace = None
        if record.rpm_limit is not None or record.tpm_limit is not None or record.parallel_max is not None:
            pace = self._paces.get(record.token)
            if pace is None:
                pace = self._paces[record.token] = Pace(workers=self.worker.count)
            pace.change(rpm=record.rpm_limit, tpm=record.tpm_limit, parallel_max=record.parallel_max)
        accounts = (account, *(a for a in standing if a.limit is not None or a.scope == GLOBAL_SCOPE))
        return Key(record, account, accounts, pace)

    def _set_period(
        self, account: Account, config: Config, duration: str | None, reset_us: int | None, active_us: int = 0
    ) -> None:
        """`reset_us` is what the storage knows of the period's end, `active_us` when it saw the last charge."""
        if duration is None:
            account.resets_at, account.next_reset = NEVER, None
            return
        parsed = parse_duration(duration)
        money = config.money

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


# --- pieces --------------------------------------------------------------------------------------------------------


def _settle_memory() -> None:
    """What was loaded until now stays to the end: the collector need not look at it again. Calls make few cycles, so that
    rarer collections cost no memory to speak of; at the usual threshold they cost an eighth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def operations() -> dict[str, Operation]:
    """Every kind of call, by name."""
    every: tuple[Operation, ...] = (
        Chat(openai_chat, DIALECTS),
        Embeddings(openai_chat),
        Images(openai_chat, name="images_generations", call_type="aimage_generation", form_taken=False),
        Images(openai_chat, name="images_edits", call_type="aimage_edit", form_taken=True),
        Speech(openai_chat),
        Transcriptions(openai_chat),
    )
    messages = Chat(anthropic_messages, DIALECTS, ANTHROPIC_MESSAGES, call_type="anthropic_messages")
    return {**{operation.name: operation for operation in every}, "messages": messages}


def data_folder(config: Config) -> Path:
    """Where everything is kept: what the configuration says, else beside the configuration file, else here."""
    if config.storage.data_dir:
        return Path(config.storage.data_dir).expanduser()
    return Path(config.config_path).resolve().parent if config.config_path else Path.cwd()


def bodies_path(config: Config) -> Path | None:
    """Where request and reply bodies are kept, or None: always without a configuration file, else when it says so."""
    wanted = config.logs.store_bodies or config.config_path is None
    return data_folder(config) / BODIES_FOLDER if wanted and not config.logs.turn_off_message_logging else None


def master_key_path(config: Config) -> Path:
    """Where the key that the gateway made for itself is kept."""
    return data_folder(config) / MASTER_KEY_FILE


async def _open_storage(config: Config) -> Storage:
    return await open_storage(_database(config, data_folder(config)))


def _database(config: Config, folder: Path) -> Path:
    """The data file: the one that a `sqlite:///` URL names, else one in the data folder."""
    url = config.storage.database_url
    if url is not None and not _is_postgres(config):
        return Path(url.reveal().removeprefix("sqlite:///"))
    return folder / DATA_FILE


def _is_postgres(config: Config) -> bool:
    url = config.storage.database_url
    return url is not None and url.reveal().startswith("postgresql://")


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


def _catalog() -> Catalog:
    return load_catalog(resources.files("tollway.pricing").joinpath(CATALOG_FILE).read_bytes())


def _binder(
    config: Config,
    catalog: Catalog,
    health: dict[str, Health],
    paces: dict[str, Pace],
    local: FindLocal,
    *,
    workers: int = 1,
) -> Binder:
    return Binder(
        config,
        catalog,
        resolve=registry.resolve,
        parse_url=parse_url,
        custom_price=custom_price,
        health=health,
        paces=paces,
        local=local,
        user_agent=f"tollway/{__version__}",
        operations=OPERATIONS,
        workers=workers,
    )


def parse_url(url: str, tls: Tls) -> tuple[Origin, str]:
    """A base URL as who is called and the path before every operation's. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError([f"{url.split('?', maxsplit=1)[0]!r} is not an http or https URL"])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, parts.hostname, port, tls), parts.path.rstrip("/")


def _nano(usd: str | None) -> int | None:
    from decimal import Decimal

    return None if usd is None else int(Decimal(usd) * 1_000_000_000)
