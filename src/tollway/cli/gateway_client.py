"""Asking a running gateway: its HTTP API with the master key, for the commands that look at it or change its keys."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tollway.cli.refusal import Refused

ANSWER_BYTES_MAX = 64 << 20
ANSWER_S_MAX = 30.0


class GatewayClient:
    """One gateway and the key to ask it with. Every method raises Refused: nobody there, or the gateway's own no."""

    def __init__(self, url: str, key: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise Refused(f"{url!r} is no gateway's address: it should look like http://127.0.0.1:4000")
        self.url = url.rstrip("/")
        self._headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "user-agent": "tollway-cli",
        }

    def get(self, path: str, query: dict[str, Any] | None = None, *, timeout_s: float = ANSWER_S_MAX) -> Any:
        """The decoded JSON answer. Query values that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", path + (f"?{urllib.parse.urlencode(given)}" if given else ""), None, timeout_s)

    def post(self, path: str, body: dict[str, Any], *, timeout_s: float = ANSWER_S_MAX) -> Any:
        """The decoded JSON answer. Body values that are None are left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", path, json.dumps(given).encode(), timeout_s)

    def change(self, path: str, body: dict[str, Any]) -> Any:
        """As `post`, but None is sent as null, which takes a limit away."""
        return self._ask("POST", path, json.dumps(body).encode(), ANSWER_S_MAX)

    @contextmanager
    def stream(self, path: str, *, timeout_s: float) -> Iterator[tuple[float, Iterator[bytes]]]:
        """The gateway's clock in seconds since 1970, and the lines of its events. Raises BrokenOff where nobody answers or the
        answer breaks off, Refused for the gateway's own no.
        """
        headers = self._headers | {"accept": "text/event-stream"}
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310  its scheme was looked at
        try:
            answer = _OPENER.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                said = f"the gateway says {error.code}: {_message(error.read(ANSWER_BYTES_MAX))}"
            raise (BrokenOff(said) if error.code >= 500 else Refused(said)) from error
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOff(str(getattr(error, "reason", error) or type(error).__name__)) from error
        with answer:
            date = parsedate_to_datetime(answer.headers.get("date", "Thu, 01 Jan 1970 00:00:00 GMT")).timestamp()
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise Refused(f"what answers at {self.url} is no gateway: {path} gave no events")
            yield date, _lines(answer)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Any:
        request = urllib.request.Request(self.url + path, data=body, headers=self._headers, method=method)  # noqa: S310  as above
        try:
            with _OPENER.open(request, timeout=timeout_s) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(f"the gateway says {error.code}: {_message(error.read(ANSWER_BYTES_MAX))}") from error
        except TimeoutError as error:
            raise Refused(f"{self.url} did not answer within {timeout_s:.0f} s") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise Refused(f"no gateway answers at {self.url} ({reason}): start one, or name it with --url") from error
        except ValueError as error:
            raise Refused(f"what answers at {self.url} is no gateway: {path} gave no JSON") from error


class BrokenOff(Exception):
    """Nobody answers, or somebody stopped in the middle; `str()` says why."""


def _lines(answer: Any) -> Iterator[bytes]:
    try:
        yield from iter(answer.readline, b"")
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOff(str(error) or type(error).__name__) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """The key goes to the address that was given, and nowhere else."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _message(body: bytes) -> str:
    """What an error body says, in one line."""
    try:
        told = json.loads(body)
        error = told.get("error", told.get("detail", told))
        message = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = body.decode("utf-8", "replace")[:500]
    return " ".join(str(message).split())


def find_url(config_path: str | None) -> str | None:
    """Where the configuration says that the gateway listens; None where it does not say, or cannot be read."""
    from tollway.cli.binding import EVERYWHERE, url_of
    from tollway.cli.flags import config_here
    from tollway.config import load
    from tollway.errors import ConfigError

    path = config_path or config_here()
    try:
        config = load(path) if path is not None else None
    except ConfigError:
        return None  # whoever looks for the key says so, where it is needed
    if config is None or not {"listen.host", "listen.port"} & config.sources.keys():
        return None
    return url_of(config.listen.host or EVERYWHERE, config.listen.port, tls=False)


def find_key(*, key_file: str | None, config_path: str | None) -> str:
    """The key to ask with: of the file that was named, of the environment or the configuration, or the master key that
    the gateway made for itself. Raises Refused if there is none."""
    if key_file == "-":
        return sys.stdin.readline().strip()
    if key_file is not None:
        return _read(Path(key_file))
    if os.environ.get("LITELLM_PROXY_API_KEY"):
        return os.environ["LITELLM_PROXY_API_KEY"]
    from tollway.cli.flags import config_here
    from tollway.config import load
    from tollway.config.places import master_key_path

    config = load(config_path or config_here())  # knows LITELLM_MASTER_KEY, too
    if config.access.master_key is not None:
        return config.access.master_key.reveal()
    made = master_key_path(config)
    if made.is_file():
        return _read(made)
    raise Refused(f"no key to ask with: set LITELLM_MASTER_KEY, or name its file with --key_file ({made} is not there)")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read a key from {path}: {getattr(error, 'strerror', None) or error}") from error
