"""A real OpenID Connect provider on loopback: `oidc-provider` from npm, pinned in `oidc/package-lock.json`, in its own process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx

from .browser import alone, cache_dir, node, run

HERE = Path(__file__).parent / "oidc"
CLIENT_ID = "tollway"


def installed() -> Path:
    """The folder with the provider's packages and our script. Raises subprocess.SubprocessError."""
    folder = cache_dir().with_name("oidc")
    folder.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    stamp = folder / "installed-lock.json"
    with alone(folder / "lock"):
        if not stamp.exists() or stamp.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder / name)
            executable, npm = node()
            run([executable, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
            stamp.write_bytes(lock)
        shutil.copy(HERE / "server.mjs", folder / "server.mjs")
    return folder


class Identity:
    """The provider while it runs. Raises RuntimeError with its own words where it does not come up."""

    def __init__(self, log: Path) -> None:
        self.client_secret = secrets.token_urlsafe(24)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.issuer = f"http://127.0.0.1:{port}"
        folder = installed()
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(node()[0]), "server.mjs"],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PORT": str(port), "CLIENT_SECRET": self.client_secret},
                stdout=subprocess.PIPE,
                stderr=sink,
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != b"ready":
            self.stop()
            raise RuntimeError(f"the provider did not come up:\n{log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def variables(self) -> dict[str, str]:
        """What tells a gateway of it, by its issuer alone."""
        return {
            "GENERIC_CLIENT_ID": CLIENT_ID,
            "GENERIC_CLIENT_SECRET": self.client_secret,
            "GENERIC_ISSUER": self.issuer,
            "GENERIC_SCOPE": "openid email profile groups",
            "GENERIC_ROLE_MAPPINGS_GROUP_CLAIM": "groups",
            "GENERIC_ROLE_MAPPINGS_ROLES": "{'proxy_admin': ['admins'], 'internal_user': ['people']}",
            "ALLOWED_EMAIL_DOMAINS": "example.com",
        }

    @property
    def endpoints(self) -> dict[str, str]:
        """The same as LiteLLM is told of it."""
        return {
            **{name: value for name, value in self.variables.items() if name != "GENERIC_ISSUER"},
            "GENERIC_AUTHORIZATION_ENDPOINT": f"{self.issuer}/auth",
            "GENERIC_TOKEN_ENDPOINT": f"{self.issuer}/token",
            "GENERIC_USERINFO_ENDPOINT": f"{self.issuer}/me",
        }


def follow(client: httpx.Client, url: str, login: str, until: str) -> str:
    """Goes through the provider's pages as `login`; the address below `until` to which it sends the browser in the end."""
    answer = client.get(url)
    for _ in range(20):
        if answer.is_redirect:
            url = urljoin(str(answer.request.url), answer.headers["location"])
            if url.startswith(until):
                return url
            answer = client.get(url)
            continue
        action = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
        assert action is not None, answer.text[:500]
        fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="(\w+)"[^>]*value="([^"]*)"', answer.text))
        if 'name="login"' in answer.text:
            fields |= {"login": login, "password": "any"}
        answer = client.post(urljoin(str(answer.request.url), unescape(action[1])), data=fields)
    raise AssertionError("the provider goes in circles")
