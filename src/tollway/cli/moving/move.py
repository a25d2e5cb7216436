"""Puts what a LiteLLM database says into a storage: people first, then keys, then what was spent.

What is there already stays as it is, unless it is to be overwritten; so an import that was broken off is run again, and one
that was tried before the real day adds what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field, structs

from tollway.cli.moving.litellm_calls import DAILY_TABLES, WITHOUT, call_of, day_of, start_of_day
from tollway.cli.moving.litellm_database import KEYS, WITHOUT_PLACE, LiteLLMDatabase, Row
from tollway.cli.moving.litellm_people import (
    PROXY_USER,
    Came,
    CameKey,
    MemberSpend,
    Notes,
    budget_of,
    customer_of,
    dict_of,
    key_of,
    nano,
    organization_of,
    stamp_of,
    tag_of,
    team_of,
    us,
    user_of,
)
from tollway.config.durations import parse_duration
from tollway.errors import BadRequest, ConfigError, StorageError, Unavailable
from tollway.storage import GLOBAL_SCOPE, AliasTaken, KeyExists
from tollway.storage.people import (
    MEMBER_SCOPE,
    SCOPES,
    AuditEntry,
    Credential,
    Entity,
    EntityExists,
    Limits,
    SharedBudget,
    StoredModel,
    member_id,
)
from tollway.storage.record import encode_record
from tollway.storage.rollups import DAY_US, Place, Sums

if TYPE_CHECKING:
    from tollway.config.settings import Config
    from tollway.storage import SpendEntry, Storage

#: Calls of one transaction.
CALLS_WRITTEN_MAX = 2_000
DAYS_WRITTEN_MAX = 5_000
AUDIT_WRITTEN_MAX = 500
ACTOR = "tollway import"
_LOGS, _LOG_ORDER = "LiteLLM_SpendLogs", "startTime"

#: Kinds in the order in which they are written: what others name comes first.
KINDS = ("budgets", "organizations", "users", "teams", "customers", "tags", "credentials", "models")
_AUDIT_TABLES = {
    "budgets": "LiteLLM_BudgetTable",
    "organizations": "LiteLLM_OrganizationTable",
    "users": "LiteLLM_UserTable",
    "teams": "LiteLLM_TeamTable",
    "customers": "LiteLLM_EndUserTable",
    "tags": "LiteLLM_TagTable",
    "credentials": "LiteLLM_CredentialsTable",
    "models": "LiteLLM_ProxyModelTable",
}

#: Called with what is being done, how much of it is done and how much there is (0: not known).
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


class Counts(Struct):
    found: int = 0
    moved: int = 0
    there: int = 0  # and left as they are
    failed: int = 0


class Findings(Struct):
    """What an import did, or would do."""

    counts: dict[str, Counts] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    without_place: dict[str, int] = field(default_factory=dict)  # rows of what this gateway does not have
    spend_nano: int = 0  # of the calls and days that were moved

    def of(self, kind: str) -> Counts:
        return self.counts.setdefault(kind, Counts())


class Moving(Struct):
    """Everything but calls, translated."""

    entities: dict[str, list[Came]]
    members: list[MemberSpend]
    keys: list[CameKey]
    gateway_nano: int | None = None


def read_people(source: LiteLLMDatabase, config: Config, findings: Findings) -> Moving:
    """Translates all that is not a call."""
    notes = findings.notes
    budget_rows = {row["budget_id"]: row for row in source.rows("LiteLLM_BudgetTable")}
    budgets: dict[str, SharedBudget] = {name: budget_of(row, notes) for name, row in budget_rows.items()}
    aliases = {row["id"]: row for row in source.rows("LiteLLM_ModelTable")}
    memberships = _by(source.rows("LiteLLM_TeamMembership"), "team_id")
    in_organizations = source.rows("LiteLLM_OrganizationMembership")
    teams, members = [], []
    for row in source.rows("LiteLLM_TeamTable"):
        team, spends = team_of(row, aliases, memberships.get(row["team_id"], ()), budgets, notes)
        teams.append(team)
        members += spends
    users = source.rows("LiteLLM_UserTable")
    credentials, models = _sealed(source, config, notes)
    former = _by(source.rows("LiteLLM_DeprecatedVerificationToken"), "active_token_id")
    keys = [key_of(row, budgets, former.get(row["token"], ()), notes) for row in source.rows(KEYS)]
    moving = Moving(
        entities={
            "budgets": [Came(budget) for budget in budgets.values()],
            "organizations": [
                organization_of(row, in_organizations, budgets, budget_rows)
                for row in source.rows("LiteLLM_OrganizationTable")
            ],
            "users": [user_of(row, notes) for row in users if row["user_id"] != PROXY_USER],
            "teams": teams,
            "customers": [customer_of(row, budgets, budget_rows, notes) for row in source.rows("LiteLLM_EndUserTable")],
            "tags": [tag_of(row, budgets, budget_rows) for row in source.rows("LiteLLM_TagTable")],
            "credentials": credentials,
            "models": models,
        },
        members=members,
        keys=[key for key in keys if key is not None],
        gateway_nano=next((nano(row.get("spend")) for row in users if row["user_id"] == PROXY_USER), None),
    )
    for kind, came in moving.entities.items():
        findings.of(kind).found = len(came)
    findings.of("keys").found = len(keys)
    findings.without_place = {what: rows for table, what in WITHOUT_PLACE.items() if (rows := source.count(table))}
    return moving


def _sealed(source: LiteLLMDatabase, config: Config, notes: Notes) -> tuple[list[Came], list[Came]]:
    """Credentials and models, opened with LiteLLM's key and sealed with ours."""
    from tollway.cli.moving.litellm_secrets import CannotOpen, LiteLLMSecrets
    from tollway.overlay import CREDENTIALS, MODELS, sealer_of

    credential_rows = source.rows("LiteLLM_CredentialsTable")
    model_rows = source.rows("LiteLLM_ProxyModelTable")
    if not credential_rows and not model_rows:
        return [], []
    key = config.access.salt_key or config.access.master_key
    try:
        if key is None:
            raise BadRequest(
                "They are encrypted with LITELLM_SALT_KEY, or with the master key: set the one that was used."
            )
        theirs, ours = LiteLLMSecrets(key), sealer_of(config)
    except (BadRequest, Unavailable) as error:
        for kind, name, rows in (
            ("credential", "credential_name", credential_rows),
            ("model", "model_name", model_rows),
        ):
            for row in rows:
                notes.add(kind, str(error), row[name])
        return [], []
    credentials, models = [], []
    for row in credential_rows:
        name = row["credential_name"]
        try:
            values = theirs.opened(dict_of(row["credential_values"]))
        except CannotOpen:
            notes.add("credential", "was encrypted with another key", name)
            continue
        sealed = ours.seal(CREDENTIALS, name, values)
        credentials.append(
            Came(Credential(id=name, sealed=sealed, info=dict_of(row.get("credential_info")), **stamp_of(row)))
        )
    for row in model_rows:
        name = row["model_name"]
        try:
            params = theirs.opened(dict_of(row["litellm_params"]))
        except CannotOpen as error:
            notes.add("model", f"{error} was encrypted with another key", name)
            continue
        if row.get("blocked"):
            notes.add("model", "is blocked there; it is not moved", name)
            continue
        sealed, info = ours.seal(MODELS, row["model_id"], params), dict_of(row.get("model_info"))
        models.append(Came(StoredModel(id=row["model_id"], model_name=name, sealed=sealed, info=info, **stamp_of(row))))
    return credentials, _servable(models, credentials, config, notes)


def _servable(models: list[Came], credentials: list[Came], config: Config, notes: Notes) -> list[Came]:
    """The models that can be obeyed; of the others it is noted why they cannot."""
    from tollway.overlay import MODELS, entry_from, sealer_of
    from tollway.storage.people import People

    people, sealer = People(credentials={came.entity.id: came.entity for came in credentials}), sealer_of(config)
    kept = []
    for came in models:
        model = came.entity
        try:
            entry_from(model, sealer.open(MODELS, model.id, model.sealed), people, sealer)
        except (ConfigError, StorageError, BadRequest) as error:
            notes.add("model", f"cannot be served: {error}", model.model_name)
        else:
            kept.append(came)
    return kept


# --- writing


async def write_people(
    storage: Storage, moving: Moving, findings: Findings, *, now_us: int, overwrite: bool, progress: Progress
) -> None:
    audit: list[AuditEntry] = []
    budgets = {came.entity.id: came.entity for came in moving.entities["budgets"]}
    for kind in KINDS:
        counts = findings.of(kind)
        for place, came in enumerate(moving.entities[kind]):
            progress(kind, place + 1, len(moving.entities[kind]))
            if await _write_entity(storage, kind, came, budgets, overwrite=overwrite):
                counts.moved += 1
                audit.append(_audit(_AUDIT_TABLES[kind], came.entity.id, now_us))
            else:
                counts.there += 1
    for member in moving.members:
        name = member_id(member.team_id, member.user_id)
        if overwrite or await storage.spend.spent(MEMBER_SCOPE, name) is None:
            await storage.people.set_spent(MEMBER_SCOPE, name, member.spend_nano)
    if moving.gateway_nano and (overwrite or await storage.spend.spent(GLOBAL_SCOPE, "") is None):
        await storage.people.set_spent(GLOBAL_SCOPE, "", moving.gateway_nano)
    for place, key in enumerate(moving.keys):
        progress("keys", place + 1, len(moving.keys))
        if await _write_key(storage, key, findings.notes, now_us=now_us, overwrite=overwrite):
            findings.of("keys").moved += 1
            audit.append(_audit(KEYS, key.record.token.hex(), now_us))
        else:
            findings.of("keys").there += 1
    for batch in _batches(audit, AUDIT_WRITTEN_MAX):
        await storage.people.note(batch)


async def _write_entity(
    storage: Storage, kind: str, came: Came, budgets: dict[str, SharedBudget], *, overwrite: bool
) -> bool:
    store, entity = getattr(storage.people, kind), came.entity
    try:
        await store.create(entity)
    except EntityExists:
        if not overwrite or await store.change(entity.id, lambda _: entity) is None:
            return False
    scope = SCOPES.get(kind)
    if scope is None:
        return True
    duration = _duration_of(entity, budgets)
    if came.reset_us is not None and duration is not None:
        started_us = max(came.reset_us - int(parse_duration(duration).seconds * 1_000_000), 1)
        await storage.spend.roll_budget(scope, entity.id, started_us, came.reset_us)
    if came.spend_nano or overwrite:
        await storage.people.set_spent(scope, entity.id, came.spend_nano)
    return True


def _duration_of(entity: Entity, budgets: dict[str, SharedBudget]) -> str | None:
    limits: Limits | None = getattr(entity, "limits", None)
    budget = budgets.get(getattr(entity, "budget_id", None) or "")
    own = limits.budget_duration if limits is not None else None
    return own or (budget.limits.budget_duration if budget is not None else None)


async def _write_key(storage: Storage, came: CameKey, notes: Notes, *, now_us: int, overwrite: bool) -> bool:
    record = came.record
    tokens = [*(token for token, _ in came.former), record.token]
    first = structs.replace(record, token=tokens[0])
    try:
        await storage.keys.create(first)
    except KeyExists:
        if not overwrite:
            return False
        named = ("token", "key_alias", "created_us", "updated_us")
        changes = {name: getattr(record, name) for name in record.__struct_fields__ if name not in named}
        return await storage.keys.update(record.token, changes, now_us=now_us) is not None
    except AliasTaken:
        alias = f"{record.key_alias} ({record.token.hex()[:8]})"
        notes.add("key", "an alias that another key has: a part of its hash was put behind it", str(record.key_alias))
        await storage.keys.create(structs.replace(first, key_alias=alias))
    for (old, until_us), new in zip(came.former, tokens[1:], strict=True):
        await storage.keys.regenerate(
            old, new, key_name=record.key_name, grace_until_us=until_us, changes={}, now_us=now_us
        )
    return True


# --- what was spent


async def move_calls(
    source: LiteLLMDatabase, storage: Storage | None, findings: Findings, *, since: datetime | None, progress: Progress
) -> datetime | None:
    """Moves the spend log from a moment on; without a storage they are only counted. Returns when its first whole day begins:
    before that, LiteLLM has forgotten calls that its daily sums still know.
    """
    counts = findings.of("calls")
    first = _first_whole_day(source)
    begins = max((moment for moment in (first, since) if moment is not None), default=None)
    counts.found = source.count_from(_LOGS, _LOG_ORDER, begins)
    batch: list[SpendEntry] = []

    async def write() -> None:
        new = await storage.spend.ingest(batch) if storage is not None else len(batch)
        counts.moved += new
        counts.there += len(batch) - new
        batch.clear()
        progress("calls", counts.moved + counts.there + counts.failed, counts.found)

    for row in source.stream(_LOGS, _LOG_ORDER, since=begins, without=WITHOUT):
        try:
            record = call_of(row)
        except (ValueError, TypeError) as error:
            counts.failed += 1
            findings.notes.add("call", f"cannot be read: {error}", str(row.get("request_id")))
            continue
        batch.append((record, encode_record(record)))
        findings.spend_nano += record.cost.total
        if len(batch) >= CALLS_WRITTEN_MAX:
            await write()
    await write()
    return begins


def _first_whole_day(source: LiteLLMDatabase) -> datetime | None:
    """The first day of the log of which nothing is missing; None where there is no log."""
    for row in source.stream(_LOGS, _LOG_ORDER, without=WITHOUT):
        started_us = us(row[_LOG_ORDER])
        if started_us is None:
            return None
        day = started_us // DAY_US
        begins, ends = start_of_day(day), start_of_day(day + 1)
        kept = source.count_from(_LOGS, _LOG_ORDER, begins) - source.count_from(_LOGS, _LOG_ORDER, ends)
        told = source.calls_of_day(begins.date().isoformat())
        return begins if kept >= told else begins + timedelta(days=1)
    return None


async def move_days(
    source: LiteLLMDatabase,
    storage: Storage | None,
    moving: Moving,
    findings: Findings,
    *,
    since: datetime | None,
    until: datetime | None,
    progress: Progress,
) -> None:
    """Moves the daily sums of the days before `until`, of which there are no calls any more."""
    counts = findings.of("daily sums")
    keys = {key.record.token: key.record for key in moving.keys}
    for table, kind, named_by in DAILY_TABLES:
        sums: dict[tuple[int, Place], Sums] = {}
        for row in source.stream(table, "date"):
            found = day_of(row, kind, named_by, keys)
            if found is None:
                continue
            day, place, more = found
            if not _within(day, since, until):
                continue
            so_far = sums.get((day, place))
            sums[day, place] = more if so_far is None else [a + b for a, b in zip(so_far, more, strict=True)]
        counts.found += len(sums)
        for batch in _batches([(day, place, more) for (day, place), more in sums.items()], DAYS_WRITTEN_MAX):
            new = await storage.spend.keep_days(batch) if storage is not None else len(batch)
            counts.moved += new
            counts.there += len(batch) - new
            progress("daily sums", counts.moved + counts.there, counts.found)
        if not named_by:
            findings.spend_nano += sum(more[2] for more in sums.values())


def _within(day: int, since: datetime | None, until: datetime | None) -> bool:
    begins = start_of_day(day)
    return (since is None or begins >= since) and (until is None or begins < until)


# --- their parts


def _audit(table: str, id: str, now_us: int) -> AuditEntry:
    return AuditEntry(at_us=now_us, actor=ACTOR, actor_key="", action="created", table=table, object_id=id)


def _by(rows: Iterable[Row], name: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _batches(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
