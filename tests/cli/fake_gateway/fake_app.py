"""Stands in for `tollway.app` in processes that tests start: keeps a key file, answers, and tells who it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.changes import changes
from tollway.config.settings import Config


class WorkerPlace(Struct, frozen=True):
    index: int
    count: int


class Prepared(Struct, frozen=True):
    config: Config
    data_path: str
    models: tuple[str, ...]
    bodies_path: str | None = None
    master_key_path: Path | None = None
    master_key_made: Secret | None = None
    warnings: tuple[str, ...] = ()


MASTER_KEY_FILE = "master-key"


def data_folder(config: Config) -> Path:
    return Path(config.storage.data_dir or ".")


def prepare(config: Config) -> Prepared:
    made = None
    path = None
    if config.access.master_key is None:
        path = data_folder(config) / MASTER_KEY_FILE
        if not path.exists():
            made = Secret("sk-made-by-the-fake-7f3a9c")
            path.write_text(made.reveal())
        config = replace(config, access=replace(config.access, master_key=Secret(path.read_text())))
    models = tuple(entry.model_name for entry in config.models)
    return Prepared(config, "tollway.db", models, master_key_path=path, master_key_made=made, warnings=config.warnings)


async def take_over_the_dead(config):
    with Path("taken-over").open("a") as file:
        file.write(".")
    return 0


class FakeApp:
    def __init__(self, config, worker, local):
        self.bounds = config.bounds
        self.config = config
        self._worker = worker
        self._local = local
        self._reloads = 0

    async def reload(self, config):
        before, self.config = self.config, config
        self._reloads += 1
        return changes(before, config)

    def refuse_config(self, problems):
        self._refused = problems

    async def open(self):
        Path("opened").touch()

    async def close(self):
        pass

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if os.environ.get("FAKE_FAILS") or Path("fails-to-start").exists():
                await send({"type": "lifespan.startup.failed", "message": "told to fail"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        about = {
            "pid": os.getpid(),
            "index": self._worker.index,
            "count": self._worker.count,
            "master_key": self.config.access.master_key.reveal(),
            "models": [entry.model_name for entry in self.config.models],
            "reloads": self._reloads,
            "local": [found[0] for found in [self._local("fake")] if found],
        }
        body = json.dumps(about).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def create_app(config, *, worker=None, local=lambda name: None, lessor=None):
    return FakeApp(config, worker or WorkerPlace(0, 1), local)
