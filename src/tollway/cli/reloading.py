"""A configuration that changes while the gateway serves: read again on SIGHUP, and when a file that it was read from changes.

Files are looked at once a second from a thread. A change is taken up when the files have been the same for a moment, so that a
file that is still being written, or is away while an editor puts another in its place, is not read; what counts is what stands
in them, wherever links lead, so that a touched file changes nothing. A configuration that cannot be obeyed leaves the one in
force as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from tollway.cli.binding import choose_host
from tollway.cli.flags import Flags, read_config, with_master_key
from tollway.config.changes import Changes, changes, listed
from tollway.config.settings import Config
from tollway.errors import ConfigError

log = logging.getLogger("tollway")

#: How often files are looked at; and while they change.
LOOK_S = 1.0
LOOK_AGAIN_S = 0.25
#: Files are taken for written when they were the same for so long; at the latest after so long they are read as they are.
SETTLED_S = 0.5
SETTLED_S_MAX = 10.0
EMPTY = sha256(b"").digest()
FILES_CHANGED = "files changed"
#: Larger files are not read by the gateway either.
FILE_BYTES_MAX = 16 << 20

#: What a file looks like from outside; None where there is none.
Looks = tuple[tuple[int, int, int, int] | None, ...]


def read_again(flags: Flags, master_key: str | None, sock: socket.socket) -> Config:
    """What the flags ask for now, with the master key that was made at start. Raises ConfigError, and Refused for a master key
    that is too weak for the address that is served."""
    config = with_master_key(read_config(flags), master_key)
    choose_host(str(sock.getsockname()[0]), config.access)
    return config


class Reloadable(Protocol):
    """The app."""

    config: Config

    async def reload(self, config: Config) -> Changes: ...

    def refuse_config(self, problems: Sequence[str]) -> None: ...


class Reloading:
    """Puts what the files say in force. `speaks`: this process tells the log; of several workers one does.

    `read` reads the configuration; it may block, and raise ConfigError or Refused.
    """

    def __init__(self, app: Reloadable, read: Callable[[], Config], *, speaks: bool = True) -> None:
        self._app = app
        self._read = read
        self._speaks = speaks
        self._turn = asyncio.Lock()
        self._refused = False
        self._known: dict[str, bytes] = {}  # what stood in the files when they were last read

    async def reload(self, why: str = "SIGHUP", *, if_another: bool = False) -> bool:
        """Whether it is in force. Whatever goes wrong is told, and changes nothing. `if_another`: one that says the same as the
        one in force is in force already.
        """
        async with self._turn:
            self._known = await asyncio.to_thread(digests, self._app.config.files)
            try:
                for file, digest in self._known.items():
                    if digest == EMPTY:  # what a full disk leaves of a file; nobody wants to serve that
                        raise ConfigError([f"{file}: is empty"])
                config = await asyncio.to_thread(self._read)
                if if_another and not self._refused and not changes(self._app.config, config):
                    return True
                what = await self._app.reload(config)
            except Exception as error:  # whoever watches no longer would never take up the mended file
                problems = list(getattr(error, "problems", None) or (str(error),))
                self._refused = True
                self._app.refuse_config(problems)
                if self._speaks:
                    log.error(
                        "the configuration was not reloaded, the one before stays in force (%s): %s",
                        why,
                        "; ".join(problems),
                    )
                return False
            self._refused = False
        if self._speaks:
            log.info("the configuration was reloaded (%s): %s", why, what)
            if what.fixed:
                log.warning("taken up by the next start only: %s", listed(what.fixed))
        return True

    async def watch(self) -> None:
        """Until it is cancelled. Does nothing while the configuration in force does not wish it, or came from no file."""
        files: Sequence[str] = ()
        looks: Looks = ()
        while True:
            config = self._app.config
            if not config.reload.watch:
                files = ()
            elif config.files != files:  # at first, and when other files are included
                files = config.files
                looks = await self._settle(files, await asyncio.to_thread(look_at, files))
                await self.reload(FILES_CHANGED, if_another=True)  # what changed between the reading and now
            elif (now := await asyncio.to_thread(look_at, files)) != looks:
                looks = await self._settle(files, now)
                if await asyncio.to_thread(digests, files) != self._known:
                    await self.reload(FILES_CHANGED, if_another=True)
            await asyncio.sleep(LOOK_S)

    async def _settle(self, files: Sequence[str], looks: Looks) -> Looks:
        """What the files look like once they do not change any more and all are there."""
        since = began = time.monotonic()
        while time.monotonic() - began < SETTLED_S_MAX:
            await asyncio.sleep(LOOK_AGAIN_S)
            now = await asyncio.to_thread(look_at, files)
            if now != looks or None in now:
                looks, since = now, time.monotonic()
            elif time.monotonic() - since >= SETTLED_S:
                break
        return looks


def look_at(files: Sequence[str]) -> Looks:
    found: list[tuple[int, int, int, int] | None] = []
    for file in files:
        try:
            seen = os.stat(file)
            found.append((seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def digests(files: Sequence[str]) -> dict[str, bytes]:
    """Of what stands in the files; empty for one that cannot be read."""
    found = {}
    for file in files:
        try:
            with Path(file).open("rb") as opened:
                found[file] = sha256(opened.read(FILE_BYTES_MAX + 1)).digest()
        except OSError:
            found[file] = b""
    return found
