"""`tollway login`: signs in where a provider wants a person to (https://www.rfc-editor.org/rfc/rfc8628, 2026-11-22).

`github-copilot` shows a code to type in at GitHub and keeps the token that comes of it where the gateway looks for it, readable
by its owner alone. The app that asks is the one of GitHub's own editor plugins, as with every client of Copilot;
GITHUB_COPILOT_CLIENT_ID names another.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from tollway.cli.refusal import Refused

commands = typer.Typer(help="Sign in at a provider.", no_args_is_help=True, rich_markup_mode=None)

CLIENT_ID = "Iv1.b507a08c87ecfe98"
DEVICE_CODE_URL = "https://github.com/login/device/code"
ACCESS_TOKEN_URL = "https://github.com/login/oauth/access_token"  # noqa: S105  # an address
SCOPE = "read:user"
ANSWER_S_MAX = 30.0
ANSWER_BYTES_MAX = 1 << 20
#: Between two looks where GitHub does not say, and what is added when it asks to slow down.
INTERVAL_S_OTHERWISE, SLOWER_S = 5, 5
#: Nobody types for longer.
WAIT_S_MAX = 15 * 60


@commands.callback()
def login() -> None:
    """Keeps `login` a command with commands of its own, though there is one."""


@commands.command("github-copilot")
def github_copilot() -> None:
    """Sign in at GitHub with an account that has Copilot."""
    file = token_file()
    token = sign_in(say=_say, sleep=time.sleep)
    keep(file, token)
    _say(f"signed in; the token is kept in {file}")


def token_file() -> Path:
    """Where the gateway looks for it, too."""
    directory = os.environ.get("GITHUB_COPILOT_TOKEN_DIR") or "~/.config/litellm/github_copilot"
    return Path(directory).expanduser() / (os.environ.get("GITHUB_COPILOT_ACCESS_TOKEN_FILE") or "access-token")


def sign_in(*, say: Callable[[str], None], sleep: Callable[[float], None]) -> str:
    """The token, once the person has typed the code in. Raises Refused."""
    client = os.environ.get("GITHUB_COPILOT_CLIENT_ID") or CLIENT_ID
    begun = _post(
        os.environ.get("GITHUB_COPILOT_DEVICE_CODE_URL") or DEVICE_CODE_URL, {"client_id": client, "scope": SCOPE}
    )
    address, code, device = (begun.get(name) for name in ("verification_uri", "user_code", "device_code"))
    if not isinstance(address, str) or not isinstance(code, str) or not isinstance(device, str):
        raise Refused("GitHub gave no code to sign in with")
    say(f"open {address} and type in {code}")
    url = os.environ.get("GITHUB_COPILOT_ACCESS_TOKEN_URL") or ACCESS_TOKEN_URL
    asked = {
        "client_id": client,
        "device_code": device,
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
    }
    interval_s = _seconds(begun.get("interval"), INTERVAL_S_OTHERWISE)
    left_s = min(_seconds(begun.get("expires_in"), WAIT_S_MAX), WAIT_S_MAX)
    while left_s > 0:
        sleep(interval_s)
        left_s -= interval_s
        said = _post(url, asked)
        token, error = said.get("access_token"), said.get("error")
        if isinstance(token, str) and token:
            return token
        if error == "slow_down":
            interval_s += SLOWER_S
        elif error != "authorization_pending":
            raise Refused(f"GitHub did not sign in: {error if isinstance(error, str) else 'it gave no token'}")
    raise Refused("the code was not typed in in time; try again")


def keep(file: Path, token: str) -> None:
    """Writes the token whole or not at all, readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(token)
        os.replace(scratch, file)
    finally:
        scratch.unlink(missing_ok=True)


def _post(url: str, fields: dict[str, str]) -> dict[str, Any]:
    # urllib costs every start of the gateway 20 ms.
    import json
    import urllib.error
    import urllib.parse
    import urllib.request

    if not url.startswith(("https://", "http://")):
        raise Refused(f"{url!r} is no URL")
    request = urllib.request.Request(  # noqa: S310  # https or http, see above
        url, urllib.parse.urlencode(fields).encode(), {"accept": "application/json", "user-agent": "tollway"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as reply:  # noqa: S310  # the same
            said = json.loads(reply.read(ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        raise Refused(f"GitHub answered with status {error.code}") from error
    except (OSError, ValueError) as error:
        raise Refused(f"GitHub cannot be reached: {error}") from error
    return said if isinstance(said, dict) else {}


def _seconds(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 < value < 86_400 else otherwise


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
