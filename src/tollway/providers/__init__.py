"""Who answers: address, greeting, quirks. One file each, or one row in `compatible.toml`.

A provider is told apart from a dialect (how an API is spoken) and from a model (what can be done and what it costs).
`registry` lists them all; what two of the files share stands here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Raw, Struct, json

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError
from tollway.upstream.wire import Upstream, WireRequest

if TYPE_CHECKING:
    from tollway.dialects.media import MediaWire

#: What a provider of OpenAI's API is taken to offer where its introduction does not say.
USUAL_OPERATIONS = (
    "chat",
    "embeddings",
    "images_generations",
    "images_edits",
    "audio_speech",
    "audio_transcriptions",
    "audio_translations",
)
#: What can be asked of a provider. The paths are the provider's business.
OPERATIONS = (*USUAL_OPERATIONS, "images_variations", "moderations", "rerank")


#: Where OpenAI's API has them (https://platform.openai.com/docs/api-reference, 2026-11-22).
OPENAI_PATHS = {
    "chat": "/chat/completions",
    "embeddings": "/embeddings",
    "images_generations": "/images/generations",
    "images_edits": "/images/edits",
    "images_variations": "/images/variations",
    "audio_speech": "/audio/speech",
    "audio_transcriptions": "/audio/transcriptions",
    "audio_translations": "/audio/translations",
    "moderations": "/moderations",
}


#: Where chat is asked in each of OpenAI's dialects, by providers that speak it as OpenAI does.
CHAT_PATHS = {
    "openai_chat": "/chat/completions",
    "openai_completions": "/completions",
    "openai_responses": "/responses",
}


class MissingSetting(Exception):
    """A provider needs something that nobody gave: `names` are the variables or settings, any one of which would do. Where
    it is nothing that is set there are none, and `said` says what to do.
    """

    def __init__(self, provider: str, names: tuple[str, ...], what: str, *, said: str | None = None) -> None:
        super().__init__(said or f"{provider} needs {what}: set {' or '.join(names)}")
        self.provider = provider
        self.names = names
        self.what = what


class Introduction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider introduces itself: the columns of `compatible.toml`.

    `base_url` may name variables in braces, `{REGION|AWS_REGION}`: the first that is set stands in their place; None
    where every customer has an address of their own. `base_url_end` is what a base URL must end with: what lacks of
    it is added, so that `http://host:11434` does as well as `http://host:11434/v1`. Variables are tried in their
    order. `auth` is "bearer" or the name of the header that holds the bare key. `output_limit` is the one field for
    the output limit that the provider is documented to know, where it does not know both. `stream_usage` False: it
    refuses `stream_options`. `header_env` are headers taken from variables, sent when those are set. `also_speaks` are
    the dialects of CHAT_PATHS that it answers beside chat completions. `rerank` is how it ranks documents, at `/rerank`: one
    of `tollway.dialects.rerank.WIRES`, or "" where it does not. `parameters` are the `litellm_params` that it understands
    beside key and address.
    """

    display: str
    docs: str = ""
    base_url: str | None = None
    base_url_end: str = ""
    base_url_env: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    key_needed: bool = True
    auth: str = "bearer"
    operations: tuple[str, ...] = USUAL_OPERATIONS
    output_limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    stream_usage: bool = True
    header_env: dict[str, str] = {}
    other_env: tuple[str, ...] = ()
    also_speaks: tuple[str, ...] = ()
    rerank: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that this provider looks at."""
        placed = [name for names in _PLACEHOLDER.findall(self.base_url or "") for name in names.split("|")]
        return (*self.base_url_env, *placed, *self.key_env, *self.header_env.values(), *self.other_env)


class Signer(Protocol):
    """What a request must carry that cannot be worked out beforehand: a signature over it, or a token that expires.

    One signer serves a deployment through all snapshots that bind it alike.
    """

    async def prepare(self, upstream: Upstream) -> None:
        """Sees to it that `sign` has what it needs; nothing to wait for while that is fresh. Never blocks the loop.

        Raises UpstreamError where no credentials can be had.
        """
        ...

    def sign(self, request: WireRequest) -> None:
        """Adds header lines to `request.head`, worked out from its final head and body."""
        ...


class Unwrapper(Protocol):
    """Takes a stream out of another that it comes in, cut anywhere."""

    before_error: bytes  # what the bytes held in which an error came, before it

    def feed(self, data: bytes) -> bytes:
        """Raises the UpstreamError that the outer stream tells of, or UpstreamBroken."""
        ...


class Provider(Protocol):
    """Who answers. Stateless: everything a call needs is bound once, when a snapshot is built."""

    name: str
    dialect: str  # of its chat operation: a module in tollway.dialects
    introduction: Introduction
    adapts_all: bool = False  # `adapt` is asked of what was translated, too: it refuses what it does not know
    own_fields: frozenset[str] = frozenset()  # of its own, which a client of any dialect may send along

    def dialects(self, model: str) -> tuple[str, ...]:
        """The dialects in which this model can be asked. A client of one of them has its bytes passed; the others are
        translated to the first."""
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        """What follows the base URL for chat in one of `dialects`."""
        return self.path("chat", model)

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        """Who signs this deployment's requests; None where `headers` says all. Raises MissingSetting, ConfigError."""
        return None

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Provider:
        """The provider as this entry wants it; itself, where an entry changes nothing but address and key.

        Ask this before the rest: paths may depend on the entry (Azure's API version), headers on the environment.
        """
        ...

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """Scheme, host and base path, without a trailing slash. Raises MissingSetting, or ConfigError for no URL."""
        ...

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """The key to greet with; None where the provider needs none. Raises MissingSetting."""
        ...

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        """Auth and constant headers, with the entry's `extra_headers`. Lower-case names. Raises ConfigError."""
        ...

    def path(self, operation: str, model: str) -> str | None:
        """What follows the base URL for an operation, or None where the provider does not offer it."""
        ...

    def model_name(self, model: str) -> str:
        """The provider's own name for a model as people write it. Asking twice changes nothing."""
        ...

    def adapt(self, fields: dict[str, Raw]) -> list[str]:
        """Same dialect: changes in place the few top-level fields that this provider is documented to want otherwise.

        Returns the names of the fields that were dropped. Everything else travels as the client's own bytes.
        """
        ...

    def adapt_operation(self, operation: str, fields: dict[str, Any]) -> list[str]:
        """What `adapt` is for chat, for an operation whose body passes as JSON (embeddings)."""
        return []

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        """Passed or translated: changes in place what this provider wants otherwise in the body of a chat in `dialect`,
        as where the model stands in the path alone. `betas` are those that the body asks for.
        """
        return

    def unwrapper(self, dialect: str) -> Unwrapper | None:
        """For one stream in `dialect`: what takes it out of the frames that this provider sends it in. None: it comes as
        it is.
        """
        return None

    def media_wire(self, operation: str) -> MediaWire | None:
        """How pictures or sound are asked for where that is not OpenAI's API; None where bodies pass."""
        return None

    def operation_headers(self, operation: str, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        """Headers of one operation alone, where a provider's doors want the key shown in different ways."""
        return []


# --- address and greeting ------------------------------------------------------------------------------------------


def address(
    provider: str,
    card: Introduction,
    entry: ModelEntry,
    environment: Mapping[str, Secret],
    clean: Callable[[str], str] | None = None,
) -> str:
    """The base URL: the entry's, a variable's or the introduction's. Raises MissingSetting, ConfigError.

    `clean` sees the URL before it is given its end.
    """
    written = entry.api_base or first_of(card.base_url_env, environment) or _filled(provider, card, environment)
    url = plain_url(provider, written, entry)
    return ended(clean(url) if clean else url, card.base_url_end)


def plain_url(provider: str, written: str, entry: ModelEntry) -> str:
    """`written` without trailing slashes and without the path of the chat operation, which people like to copy along.

    Raises ConfigError when it is no http or https URL or has a query.
    """
    url = written.strip().rstrip("/").removesuffix("/chat/completions").rstrip("/")
    if not _URL.fullmatch(url):
        place = f"{entry.place}: " if entry.place else ""
        shown = re.sub(r"//[^/@]*@", "//***@", url.split("?", 1)[0])
        raise ConfigError(
            [f"{place}{provider}: {shown!r} is no base URL; write it like https://host/path, without a query"]
        )
    return url


def ended(url: str, end: str) -> str:
    """`url` with what it lacks of `end`: ("http://h/v1beta", "/v1beta/openai") -> "http://h/v1beta/openai"."""
    wanted = end.split("/")[1:]
    for count in range(len(wanted), 0, -1):
        if url.endswith("/" + "/".join(wanted[:count])):
            return "/".join([url, *wanted[count:]])
    return url + end


def first_of(names: Iterable[str], environment: Mapping[str, Secret]) -> str | None:
    """The value of the first variable that is set and not empty."""
    for name in names:
        value = environment.get(name)
        if value:
            return value.reveal()
    return None


def key_of(provider: str, card: Introduction, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
    """The entry's key, or that of the first variable. Raises MissingSetting where one is needed."""
    if entry.api_key is not None:
        return entry.api_key
    for name in card.key_env:
        value = environment.get(name)
        if value:
            return value
    if card.key_needed:
        raise MissingSetting(provider, (*card.key_env, "api_key"), "a key")
    return None


def header_lines(provider: str, pairs: Iterable[tuple[str, str]], entry: ModelEntry) -> list[tuple[bytes, bytes]]:
    """Headers as they go on the wire: lower-case names, `extra_headers` last and in place of ours of the same name.

    Raises ConfigError, naming the header and never its value, for what would break the request.
    """
    merged = {name.lower(): value for name, value in pairs}
    merged |= {name.lower(): value for name, value in entry.extra_headers.items()}
    lines: list[tuple[bytes, bytes]] = []
    for name, value in merged.items():
        shown = value.strip()
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(shown):
            place = f"{entry.place}: " if entry.place else ""
            raise ConfigError([f"{place}{provider}: the header {name!r} holds what no header can (a line break?)"])
        lines.append((name.encode("ascii"), shown.encode("latin-1")))
    return lines


def greeting(auth: str, key: Secret | None) -> list[tuple[str, str]]:
    """The header that shows the key: `auth` is "bearer" or the header's name."""
    if key is None:
        return []
    shown = key.reveal().strip()
    return [("authorization", f"Bearer {shown}") if auth == "bearer" else (auth, shown)]


def is_entra_token(key: Secret | None) -> bool:
    """Microsoft Entra's tokens are JSON Web Tokens; Azure's keys have no dots. Tokens go as a bearer, keys do not."""
    return key is not None and key.reveal().startswith("eyJ") and key.reveal().count(".") == 2


# --- fields --------------------------------------------------------------------------------------------------------


def drop_fields(fields: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Takes the named fields away; returns those that were there."""
    return [name for name in names if fields.pop(name, None) is not None]


def name_output_limit(fields: dict[str, Any], wanted: str) -> list[str]:
    """Puts the output limit under the one name that is known; where both stand, `max_completion_tokens` wins.

    Returns the field that had another value and lost, if any.
    """
    newer, older = _given(fields.pop("max_completion_tokens", None)), _given(fields.pop("max_tokens", None))
    limit = older if newer is None else newer
    if limit is not None:
        fields[wanted] = limit
    return [] if newer is None or older is None or newer == older else ["max_tokens"]


@lru_cache(maxsize=256)
def is_openai_reasoning(model: str) -> bool:
    """These refuse `max_tokens`: o1, o3-mini, ft:o4-mini:..., gpt-5, gpt-5.1, codex-mini-latest."""
    return _REASONING.match(model) is not None


def text_of(value: Any) -> str:
    """The text that a field holds, raw or not; "" for everything else."""
    if isinstance(value, Raw):
        value = json.decode(value)
    return value if isinstance(value, str) else ""


def _given(value: Any) -> Any:
    return None if isinstance(value, Raw) and bytes(value).strip() == b"null" else value


def _filled(provider: str, card: Introduction, environment: Mapping[str, Secret]) -> str:
    if card.base_url is None:
        raise MissingSetting(provider, (*card.base_url_env, "api_base"), "an address")

    def fill(match: re.Match[str]) -> str:
        names = tuple(match[1].split("|"))
        value = first_of(names, environment)
        if value is None:
            raise MissingSetting(provider, (*names, "api_base"), "an address")
        return value.strip()

    return _PLACEHOLDER.sub(fill, card.base_url)


_REASONING = re.compile(r"(?:ft:)?(?:o[1-9]|gpt-[5-9]|codex-)")
_PLACEHOLDER = re.compile(r"\{([A-Z0-9_|]+)\}")
_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
