"""How the gateway itself is: versions, storage, journal, shared budgets, what is kept on disk, and who hears of calls."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from pathlib import Path

from fastapi import Response
from msgspec import Struct
from msgspec.json import encode
from starlette.requests import Request

from tollway import __version__
from tollway.admin import Office
from tollway.admin.border import NANO, iso_z, office_of, us_of
from tollway.errors import StorageError
from tollway.storage.schemas import HEAD


class StorageState(Struct, frozen=True, kw_only=True):
    """`answers_ms` None: it does not answer. `bytes` is the file's, None where there is no file here."""

    kind: str
    where: str
    schema: str
    answers_ms: float | None
    error: str
    bytes: int | None
    shared: bool


class JournalFolder(Struct, frozen=True, kw_only=True):
    """The journals of this machine's workers: `rows_*` are of the worker that answers. `damaged` files wait for people."""

    files: int
    bytes: int
    bytes_max: int
    damaged: int
    rows_written: int
    rows_stored: int
    rows_dropped: int


class KeptState(Struct, frozen=True, kw_only=True):
    """What is kept on disk beside the database, as far as it is kept."""

    name: str
    bytes: int
    bytes_max: int
    days_max: int


class HolderState(Struct, frozen=True, kw_only=True):
    """A worker that may still spend some of shared budgets. Dollars."""

    worker: str
    host: str
    leases: int
    outstanding: float


class GatewayState(Struct, frozen=True, kw_only=True):
    """`started_at` is when the worker that answers began to serve."""

    version: str
    python: str
    system: str
    host: str
    pid: int
    workers: int
    started_at: str | None
    data_folder: str
    catalog_as_of: str
    catalog_models: int
    storage: StorageState
    journal: JournalFolder
    kept: list[KeptState]
    exporters: list[str]
    leases: list[HolderState]


async def show(request: Request) -> Response:
    """How the gateway is. Nothing in it is secret."""
    office = office_of(request)
    storage = await _storage(office)
    journal, kept = await asyncio.to_thread(_on_disk, office)
    shown = GatewayState(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        host=socket.gethostname(),
        pid=os.getpid(),
        workers=office.workers,
        started_at=iso_z(us_of(office.started_at)),
        data_folder=str(office.data_folder),
        catalog_as_of=office.catalog.as_of,
        catalog_models=len(office.catalog),
        storage=storage,
        journal=journal,
        kept=kept,
        exporters=list(office.exporters),
        leases=await _leases(office) if storage.answers_ms is not None else [],
    )
    return Response(encode(shown), media_type="application/json")


async def _storage(office: Office) -> StorageState:
    began, answers_ms, error = time.perf_counter(), None, ""
    try:
        await office.storage.check()
        answers_ms = (time.perf_counter() - began) * 1000
    except StorageError as failed:
        error = str(failed)
    where, postgres = office.where_stored, office.where_stored.startswith("postgresql://")
    return StorageState(
        kind="PostgreSQL" if postgres else "SQLite",
        where=where,
        schema=HEAD,
        answers_ms=answers_ms,
        error=error,
        bytes=None if postgres else await asyncio.to_thread(_size, Path(where)),
        shared=office.storage.shared,
    )


async def _leases(office: Office) -> list[HolderState]:
    return [
        HolderState(worker=str(one.epoch), host=one.host, leases=one.leases, outstanding=one.outstanding_nano / NANO)
        for one in await office.storage.leases.holders()
    ]


def _on_disk(office: Office) -> tuple[JournalFolder, list[KeptState]]:
    config, folder, told = office.config, office.data_folder, office.journal
    files = _files(folder / "journal")
    logs = [size for name, size in files if name.endswith(".log")]
    journal = JournalFolder(
        files=len(logs),
        bytes=sum(logs),
        bytes_max=config.storage.journal_mb_max << 20,
        damaged=sum(name.endswith(".damaged") for name, _ in files),
        rows_written=told.rows_written,
        rows_stored=told.rows_stored,
        rows_dropped=told.rows_dropped,
    )
    bounds = {
        "bodies": (office.bodies_folder, config.logs.bodies_mb_max, config.logs.bodies_days_max),
        "responses": (
            folder / "responses" if config.storage.responses_mb_max else None,
            config.storage.responses_mb_max,
            config.storage.responses_days_max,
        ),
    }
    kept = [
        KeptState(name=name, bytes=sum(size for _, size in _files(place)), bytes_max=mb << 20, days_max=days)
        for name, (place, mb, days) in bounds.items()
        if place is not None
    ]
    return journal, kept


def _files(folder: Path) -> list[tuple[str, int]]:
    """Names and bytes of the files in a folder; what goes meanwhile is left out."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            size = _size(Path(path) / name)
            if size is not None:
                found.append((name, size))
    return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
