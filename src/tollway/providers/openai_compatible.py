"""A provider that speaks OpenAI's API and is told from others by its introduction alone, but for a quirk or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import (
    OPENAI_PATHS,
    Introduction,
    address,
    first_of,
    greeting,
    header_lines,
    key_of,
    name_output_limit,
)


class OpenAICompatible:
    """Made from an introduction, and from the functions of a provider's own file where it has quirks.

    `adapt` changes fields and returns the names of those it dropped; `rename` gives the provider's name for a model;
    `clean` takes from an address what belongs to another API of the same provider.
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
        standing: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name = name
        self.introduction = introduction
        self._adapt = adapt
        self._rename = rename
        self._clean = clean
        self._standing = standing

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.name!r})"

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> OpenAICompatible:
        """With the headers that the environment asks for."""
        wanted = ((name, first_of((variable,), environment)) for name, variable in self.introduction.header_env.items())
        standing = tuple((name, value) for name, value in wanted if value)
        if standing == self._standing:
            return self
        return OpenAICompatible(
            self.name, self.introduction, adapt=self._adapt, rename=self._rename, clean=self._clean, standing=standing
        )

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        return address(self.name, self.introduction, entry, environment, self._clean)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return key_of(self.name, self.introduction, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, [*greeting(self.introduction.auth, key), *self._standing], entry)

    def path(self, operation: str, model: str) -> str | None:
        return OPENAI_PATHS.get(operation) if operation in self.introduction.operations else None

    def model_name(self, model: str) -> str:
        return self._rename(model) if self._rename and "*" not in model else model

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        dropped = self._adapt(fields) if self._adapt else []
        if self.introduction.output_limit:
            dropped += name_output_limit(fields, self.introduction.output_limit)
        if not self.introduction.stream_usage:
            fields.pop("stream_options", None)  # not told as dropped: usage is the gateway's to ask for and to show
        return dropped
