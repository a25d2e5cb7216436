"""Local models, the parent's side: a child process each (`local_model.py`), started, started again, and ended.

The parent keeps each port from before the first start to its own end: it binds the port with SO_REUSEPORT and never
listens on it. Addresses are therefore known at once and outlive a child that is started again, and calls that come
before the model is loaded can wait for it (`HoldUntilLoaded`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from tollway.calls import Secret
from tollway.cli.binding import LOOPBACK
from tollway.cli.model_files import PREFIX, ModelFileMissing, model_file
from tollway.config.settings import Config

LOAD_S_MAX = 30.0
#: A child that ends this often within the window is left alone.
DEATHS_MAX = 5
DEATHS_WINDOW_S = 60.0

_POLL_S = 0.05


class LocalAddress(NamedTuple):
    """Where a local model listens, on this machine alone, and the token it wants as a Bearer. It holds while the parent
    lives, however often the child is started again."""

    port: int
    token: str

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v1"


class LocalModels:
    """Owns the children of one gateway: starts them, starts one again that died, and ends them.

    `addresses` holds every model whose child runs or is about to; `problems` has one line for each that cannot run.
    """

    def __init__(self, names: Iterable[str], say: Callable[[str], None]) -> None:
        self.addresses: dict[str, LocalAddress] = {}
        self.problems: list[str] = []
        self._say = say
        self._paths: dict[str, Path] = {}
        self._kept_ports: list[socket.socket] = []
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        for name in sorted(set(names)):
            self._admit(name)

    def start(self) -> None:
        """Returns at once; the models load while the gateway starts."""
        for name in list(self.addresses):
            # A thread and not a task: it must outlive nobody but the process, and the child's parent-death signal is
            # tied to the thread that started it.
            threading.Thread(target=self._keep_running, args=(name,), name=f"local model {name}", daemon=True).start()

    def stop(self) -> None:
        """Ends the children; at most two seconds."""
        self._stopping.set()
        for child in list(self._children.values()):
            _end(child)
        for kept in self._kept_ports:
            kept.close()

    def _admit(self, name: str) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            self.problems.append(f"{PREFIX}{name} needs llama.cpp: install tollway[local]")
            return
        try:
            self._paths[name] = model_file(name)
        except ModelFileMissing as missing:
            self.problems.append(str(missing))
            return
        port, kept = _keep_port()
        if kept is not None:
            self._kept_ports.append(kept)
        self.addresses[name] = LocalAddress(port, secrets.token_urlsafe(24))

    def _keep_running(self, name: str) -> None:
        deaths: list[float] = []
        while not self._stopping.is_set():
            child = self._start_child(name)
            if not _ready(child) and not self._stopping.is_set():
                self._say(f"local model {name!r} was not ready within {LOAD_S_MAX:.0f} s or ended before")
                child.kill()
            child.wait()
            _end(child)
            if self._stopping.is_set():
                return
            now = time.monotonic()
            deaths = [death for death in deaths if now - death < DEATHS_WINDOW_S] + [now]
            if len(deaths) >= DEATHS_MAX:
                del self.addresses[name]
                self._say(f"local model {name!r} ended {DEATHS_MAX} times within a minute; it is not started again")
                return
            self._say(f"local model {name!r} ended with code {child.returncode}; starting it again")

    def _start_child(self, name: str) -> subprocess.Popen[bytes]:
        port, token = self.addresses[name]
        child = subprocess.Popen(
            [sys.executable, "-m", "tollway.cli.local_model"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._children[name] = child
        settings = {"name": name, "path": str(self._paths[name]), "port": port, "token": token}
        with contextlib.suppress(BrokenPipeError):  # it died already: `_ready` finds out
            _stream(child.stdin).write(json.dumps(settings).encode() + b"\n")
            _stream(child.stdin).flush()
        if self._stopping.is_set():  # `stop` may have looked before this child was there
            _end(child)
        return child


def local_names(config: Config) -> list[str]:
    """The local models that a configuration asks for, without their prefix."""
    return [
        entry.provider_model.removeprefix(PREFIX)
        for entry in config.models
        if entry.provider_model.startswith(PREFIX) and entry.api_base is None
    ]


def finder(addresses: Mapping[str, LocalAddress]) -> Callable[[str], tuple[str, Secret] | None]:
    """What a snapshot asks for the base URL and the token of a local model, by its name without prefix.

    None for a model that is not run.
    """

    def find(name: str) -> tuple[str, Secret] | None:
        address = addresses.get(name)
        return None if address is None else (address.base_url, Secret(address.token))

    return find


class HoldUntilLoaded:
    """An ASGI layer in front of a gateway with local models: a POST that comes before they are loaded waits for them,
    at most LOAD_S_MAX after the first such call. Afterwards it costs one comparison."""

    def __init__(self, app: Any, addresses: Mapping[str, LocalAddress]) -> None:
        self._app = app
        self.bounds = app.bounds
        self._addresses = addresses
        self._loaded = False
        self._loading: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self._loaded and scope["type"] == "http" and scope["method"] == "POST":
            if self._loading is None:
                self._loading = asyncio.create_task(self._until_loaded())
            await asyncio.shield(self._loading)
        await self._app(scope, receive, send)

    async def _until_loaded(self) -> None:
        deadline = time.monotonic() + LOAD_S_MAX
        for name in list(self._addresses):
            while time.monotonic() < deadline:
                address = self._addresses.get(name)  # gone once nobody starts it any more
                if address is None or await _healthy(address.port):
                    break
                await asyncio.sleep(_POLL_S)
        self._loaded = True


async def _healthy(port: int) -> bool:
    """Whether llama.cpp answers that it has loaded its model (GET /health, no token needed)."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(1.0):
            return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


def _keep_port() -> tuple[int, socket.socket | None]:
    """A loopback port of our own: bound, never listening, so that only the child's listening socket gets connections.

    Where sockets cannot share a port, it is let go of again and only its number is kept.
    """
    kept = socket.socket()
    if hasattr(socket, "SO_REUSEPORT"):
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind((LOOPBACK, 0))
    port: int = kept.getsockname()[1]
    if hasattr(socket, "SO_REUSEPORT"):
        return port, kept
    kept.close()
    return port, None


def _ready(child: subprocess.Popen[bytes]) -> bool:
    """Waits for the child's line. A child that has not said it within LOAD_S_MAX is killed."""
    timer = threading.Timer(LOAD_S_MAX, child.kill)
    timer.daemon = True
    timer.start()
    try:
        return b'"port"' in _stream(child.stdout).readline()
    finally:
        timer.cancel()
        _stream(child.stdout).close()


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        _stream(child.stdin).close()
    try:
        child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(timeout=1.0)


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started without pipes")
    return pipe
