"""GitHub Copilot: the models of a person's or company's Copilot plan (https://docs.github.com/en/copilot).

GitHub publishes no reference of this API; what stands here is what its own editor plugins and the open clients send
(https://github.com/microsoft/vscode-copilot-chat, https://github.com/zed-industries/zed, crates/copilot_chat; 2026-11-22).

Greeting: GitHub's OAuth token of an account with Copilot (`api_key`, GITHUB_COPILOT_ACCESS_TOKEN, COPILOT_GITHUB_TOKEN, or the
file `access-token` in GITHUB_COPILOT_TOKEN_DIR, where LiteLLM keeps its) is exchanged at
`api.github.com/copilot_internal/v2/token` for one of half an hour.

Quirks: headers name an editor, without which it answers 400; pictures are looked at only where `copilot-vision-request` says that
there are some; `x-initiator` says whether a person asked or an agent goes on by itself, which decides what counts against the
plan: the last message tells. Some models speak Responses alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import Introduction, MissingSetting, Signer, first_of, greeting, header_lines
from tollway.providers.openai_compatible import OpenAICompatible
from tollway.providers.tokens import (
    LIFE_S_OTHERWISE,
    Token,
    TokenSigner,
    answer,
    ask,
    checked_url,
    refused,
    tls_of,
    token,
)
from tollway.upstream.wire import Upstream, WireRequest

INTRODUCTION = Introduction(
    display="GitHub Copilot",
    docs="https://docs.github.com/en/copilot",
    base_url="https://api.githubcopilot.com",
    base_url_env=("GITHUB_COPILOT_API_BASE",),
    key_env=("GITHUB_COPILOT_ACCESS_TOKEN", "COPILOT_GITHUB_TOKEN"),
    operations=("chat", "embeddings"),
    other_env=("GITHUB_COPILOT_TOKEN_DIR", "GITHUB_COPILOT_ACCESS_TOKEN_FILE", "GITHUB_COPILOT_API_KEY_URL"),
    also_speaks=("openai_responses",),
)
WHO = "GitHub"
EXCHANGE_URL = "https://api.github.com/copilot_internal/v2/token"
TOKEN_DIR = "~/.config/litellm/github_copilot"  # noqa: S105  # a directory
TOKEN_FILE = "access-token"  # noqa: S105  # a file's name
EDITOR = (
    ("editor-version", "vscode/1.104.1"),
    ("editor-plugin-version", "copilot-chat/0.31.2"),
)
HEADERS = (
    *EDITOR,
    ("copilot-integration-id", "vscode-chat"),
    ("openai-intent", "conversation-agent"),
    ("x-github-api-version", "2025-04-01"),
)
_PICTURES = frozenset({"image_url", "input_image"})


class GitHubCopilot(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("github_copilot", INTRODUCTION)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> None:
        """None: what is kept is shown to GitHub alone, see `signer`."""

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, [*greeting("bearer", key), *HEADERS], entry)

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer:
        """Raises MissingSetting where there is neither a token nor its file."""
        kept = entry.api_key or _variable(environment)
        directory = first_of(("GITHUB_COPILOT_TOKEN_DIR",), environment) or TOKEN_DIR
        name = first_of(("GITHUB_COPILOT_ACCESS_TOKEN_FILE",), environment) or TOKEN_FILE
        file = Path(directory).expanduser() / name
        if kept is None and not file.is_file():
            raise MissingSetting(
                self.name, (*INTRODUCTION.key_env, "api_key", "GITHUB_COPILOT_TOKEN_DIR"), "GitHub's OAuth token"
            )
        written = first_of(("GITHUB_COPILOT_API_KEY_URL",), environment) or EXCHANGE_URL
        url = checked_url(self.name, entry, "GITHUB_COPILOT_API_KEY_URL", written)
        tls = tls_of(entry)

        async def fetch(upstream: Upstream, now_s: float) -> Token:
            oauth = kept.reveal().strip() if kept is not None else await _read(file)
            try:
                request = ask("GET", url, [("authorization", f"token {oauth}"), *EDITOR], tls=tls)
            except ValueError as error:
                raise refused(WHO, "what is kept is no token") from error
            said = await answer(upstream, request, WHO)
            expires = said.get("expires_at")
            expires_s = float(expires) if isinstance(expires, int | float) else now_s + LIFE_S_OTHERWISE
            return token(said.get("token"), WHO, now_s, expires_s)

        return CopilotSigner(WHO, fetch)

    def _is_elsewhere(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> bool:
        return False  # plans have hosts of their own: api.business.githubcopilot.com


class _Part(Struct, gc=False):
    type: str | None = None


class _Item(Struct, gc=False):
    role: str | None = None
    content: str | list[_Part] | None = None


class _Asked(Struct, gc=False):
    messages: list[_Item] = []
    input: str | list[_Item] = []


_decode = msgspec.json.Decoder(_Asked).decode


class CopilotSigner(TokenSigner):
    """Also says what the body is, which Copilot wants in headers."""

    def sign(self, request: WireRequest) -> None:
        super().sign(request)
        request.head += b"".join(b"%b: %b\r\n" % line for line in body_headers(request.body))


def body_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """About 50 us for 67 KB. A body that cannot be read is a person's."""
    try:
        asked: Any = _decode(body)
    except msgspec.MsgspecError:
        return [(b"x-initiator", b"user")]
    items = asked.messages or (asked.input if isinstance(asked.input, list) else [])
    by_agent = bool(items) and items[-1].role != "user"
    lines = [(b"x-initiator", b"agent" if by_agent else b"user")]
    if any(part.type in _PICTURES for item in items if isinstance(item.content, list) for part in item.content):
        lines.append((b"copilot-vision-request", b"true"))
    return lines


def _variable(environment: Mapping[str, Secret]) -> Secret | None:
    found = first_of(INTRODUCTION.key_env, environment)
    return Secret(found) if found else None


async def _read(file: Path) -> str:
    try:
        return (await asyncio.to_thread(file.read_text, "utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise refused(WHO, f"{type(error).__name__} of its token's file") from error
