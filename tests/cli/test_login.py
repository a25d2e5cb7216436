from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from typer.testing import CliRunner

from tollway.cli import login
from tollway.cli.main import app
from tollway.cli.refusal import Refused

CODE = {
    "device_code": "d-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://github.com/login/device",
    "interval": 5,
    "expires_in": 900,
}


class GitHub(BaseHTTPRequestHandler):
    answers: ClassVar[list[Any]]
    asked: ClassVar[list[tuple[str, dict[str, list[str]]]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        type(self).asked.append((self.path, parse_qs(body)))
        said = type(self).answers.pop(0)
        raw = json.dumps(said).encode()
        self.send_response(said if isinstance(said, int) else 200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[GitHub]]:
    class Own(GitHub):
        answers: ClassVar[list[Any]] = []
        asked: ClassVar[list[tuple[str, dict[str, list[str]]]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GITHUB_COPILOT_DEVICE_CODE_URL", f"http://127.0.0.1:{server.server_port}/code")
    monkeypatch.setenv("GITHUB_COPILOT_ACCESS_TOKEN_URL", f"http://127.0.0.1:{server.server_port}/token")
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN_DIR", str(tmp_path / "copilot"))
    monkeypatch.delenv("GITHUB_COPILOT_ACCESS_TOKEN_FILE", raising=False)
    monkeypatch.delenv("GITHUB_COPILOT_CLIENT_ID", raising=False)
    yield Own
    server.shutdown()
    server.server_close()


def test_a_code_is_shown_and_the_token_kept_for_its_owner_alone(
    github: type[GitHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.cli.login.time.sleep", lambda seconds: None)
    github.answers[:] = [CODE, {"error": "authorization_pending"}, {"access_token": "gho_1", "token_type": "bearer"}]
    result = CliRunner().invoke(app, ["login", "github-copilot"])
    assert result.exit_code == 0
    assert "open https://github.com/login/device and type in WDJB-MJHT" in result.output
    file = tmp_path / "copilot" / "access-token"
    assert file.read_text() == "gho_1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "gho_1" not in result.output
    assert github.asked[0] == ("/code", {"client_id": [login.CLIENT_ID], "scope": ["read:user"]})
    assert github.asked[1] == (
        "/token",
        {
            "client_id": [login.CLIENT_ID],
            "device_code": ["d-1"],
            "grant_type": ["urn:ietf:params:oauth:grant-type:device_code"],
        },
    )


def test_it_looks_as_often_as_github_wants(github: type[GitHub]) -> None:
    pauses: list[float] = []
    github.answers[:] = [CODE, {"error": "slow_down"}, {"error": "authorization_pending"}, {"access_token": "t"}]
    assert login.sign_in(say=lambda line: None, sleep=pauses.append) == "t"
    assert pauses == [5, 10, 10]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([CODE, {"error": "access_denied"}], "access_denied"),
        ([{**CODE, "expires_in": 5}, {"error": "authorization_pending"}], "in time"),
        ([{}], "no code"),
        ([404], "404"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(github: type[GitHub], answers: list[Any], said: str, tmp_path: Path) -> None:
    github.answers[:] = answers
    with pytest.raises(Refused, match=said):
        login.sign_in(say=lambda line: None, sleep=lambda seconds: None)
    assert not (tmp_path / "copilot").exists()
