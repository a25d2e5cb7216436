"""A provider that speaks OpenAI's API and is told from others by its introduction alone, but for a quirk or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any
from urllib.parse import urlsplit

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import (
    CHAT_PATHS,
    OPENAI_PATHS,
    Introduction,
    Provider,
    address,
    first_of,
    greeting,
    header_lines,
    key_of,
    name_output_limit,
)


class OpenAICompatible(Provider):
    """Made from an introduction, and from the functions of a provider's own file where it has quirks.

    `adapt` changes fields and returns the names of those it dropped; `rename` gives the provider's name for a model;
    `clean` takes from an address what belongs to another API of the same provider. At an address that is not the provider's
    own but some server's, it speaks chat completions, and is not taken to speak anything else.
    """

    dialect = "openai_chat"

    def __init__(
        self,
        name: str,
        introduction: Introduction,
        *,
        adapt: Callable[[dict[str, Any]], list[str]] | None = None,
        rename: Callable[[str], str] | None = None,
        clean: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.introduction = introduction
        self._adapt = adapt
        self._rename = rename
        self._clean = clean
        self._standing: tuple[tuple[str, str], ...] = ()
        self._elsewhere = False
        self._told: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> OpenAICompatible:
        """With the headers that the environment asks for, and knowing whose address it is."""
        wanted = ((name, first_of((variable,), environment)) for name, variable in self.introduction.header_env.items())
        standing = tuple((name, value) for name, value in wanted if value)
        elsewhere = self._is_elsewhere(entry, environment)
        told = _told_dialects(entry)
        if standing == self._standing and elsewhere == self._elsewhere and told == self._told:
            return self
        bound = copy(self)
        bound._standing, bound._elsewhere, bound._told = standing, elsewhere, told  # noqa: SLF001  # of its own class
        return bound

    def _is_elsewhere(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> bool:
        card = self.introduction
        if not card.also_speaks or card.base_url is None or "{" in card.base_url:
            return False
        written = entry.api_base or first_of(card.base_url_env, environment)
        return written is not None and urlsplit(written).hostname != urlsplit(card.base_url).hostname

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        return address(self.name, self.introduction, entry, environment, self._clean)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return key_of(self.name, self.introduction, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, [*greeting(self.introduction.auth, key), *self._standing], entry)

    def path(self, operation: str, model: str) -> str | None:
        if operation == "rerank":
            return "/rerank" if self.introduction.rerank else None
        return OPENAI_PATHS.get(operation) if operation in self.introduction.operations else None

    def dialects(self, model: str) -> tuple[str, ...]:
        also = self._told if self._elsewhere else (*self.introduction.also_speaks, *self._told)
        return tuple(dict.fromkeys((self.dialect, *also)))

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return CHAT_PATHS[dialect] if "chat" in self.introduction.operations else None

    def model_name(self, model: str) -> str:
        return self._rename(model) if self._rename and "*" not in model else model

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        dropped = self._adapt(fields) if self._adapt else []
        if self.introduction.output_limit:
            dropped += name_output_limit(fields, self.introduction.output_limit)
        if not self.introduction.stream_usage:
            fields.pop("stream_options", None)  # not told as dropped: usage is the gateway's to ask for and to show
        return dropped


def _told_dialects(entry: ModelEntry) -> tuple[str, ...]:
    """`model_info: {supported_endpoints: [/v1/responses]}` says of a server that it speaks Responses too."""
    endpoints = entry.about.get("supported_endpoints") or ()
    return tuple(
        dialect for dialect, path in CHAT_PATHS.items() if "/v1" + path in endpoints and dialect != "openai_chat"
    )
