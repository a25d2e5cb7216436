"""What each known model costs, takes and can do: some 4 200 rows of public price lists.

The file is `CATALOG_FILE` beside this module; whoever may read files hands its bytes to `load`. Rows stay encoded until
a model is looked up, so that loading costs a few milliseconds and little more memory than the text itself. Row keys are
those of the public model cost map that LiteLLM distributes (MIT), because configurations and clients use them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.errors import ConfigError
from tollway.pricing.price import (
    AS_LISTED,
    IMAGES_BY_KIND,
    NANO_PER_DOLLAR,
    Price,
    Terms,
    price_from_map,
    price_version,
    says_price,
    uplift_in,
)

CATALOG_FILE = "model_catalog.json.gz"
CATALOG_BYTES_MAX = 64 << 20

Row = Mapping[str, Any]


class ModelFacts(Struct, frozen=True):
    """What is known of one model; None or "" where nothing is.

    `provider` is who serves it, as a model's prefix names it; `price` None means unpriced. `abilities` are the
    `supports_*` that are true, without that prefix. `image_tokens_max` bounds what one picture sent can cost. `row` is
    the row as it was listed.
    """

    name: str
    provider: str
    mode: str
    input_tokens_max: int | None
    output_tokens_max: int | None
    image_tokens_max: int | None
    abilities: frozenset[str]
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    price: Price | None
    source: str
    row: Row


def load(data: bytes) -> Catalog:
    """The catalog in these gzipped bytes. Raises ConfigError when they hold none."""
    try:
        # The last four bytes say how long the text is (RFC 1952, 2.3.1): one allocation instead of ever larger ones.
        length = min(int.from_bytes(data[-4:], "little"), CATALOG_BYTES_MAX)
        gzip = zlib.decompressobj(wbits=31)
        text = gzip.decompress(data, length + 1)
        if not gzip.eof:
            raise zlib.error("it is cut or too long")
        told = _FILE.decode(text)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ConfigError([f"the model catalog cannot be read: {error}"]) from error
    return Catalog(told.rows, as_of=told.as_of, about=told.about)


class Catalog:
    """Finds models by the names that people and providers use. Changes nothing after it is made."""

    def __init__(self, rows: dict[str, dict[str, Raw]], *, as_of: str, about: str = "") -> None:
        self.as_of = as_of
        self.about = about
        self._rows = rows

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())

    def names(self) -> Iterator[str]:
        """Every row's name, as the map has it."""
        for rows in self._rows.values():
            yield from rows

    def prices(self, name: str) -> Row:
        """What the row of exactly this name says of prices, in the map's keys; empty where there is none."""
        for rows in self._rows.values():
            if name in rows:
                listed = _LISTED.decode(rows[name])
                return {key: value for key, value in listed.items() if says_price(key)}
        return {}

    def facts(self, name: str) -> ModelFacts | None:
        """The row of exactly this name."""
        for provider, rows in self._rows.items():
            raw = rows.get(name)
            if raw is not None:
                return _facts(name, provider, raw, self.as_of)
        return None

    def find(self, provider: str, model: str) -> ModelFacts | None:
        """What is known of `model` at `provider`: its own row, else that of the model without region, date or version.

        Only rows of this provider or its family count: the same model costs something else elsewhere.
        """
        family = family_of(provider)
        served = [(name, rows) for name, rows in self._rows.items() if family_of(name) == family]
        for variant in _variants(family, model):
            for name in (f"{family}/{variant}", f"{family.replace('_', '-')}/{variant}", variant):
                for row_provider, rows in served:
                    raw = rows.get(name)
                    if raw is not None:
                        return _facts(name, row_provider, raw, self.as_of)
        return self._find_by_size(family, model)

    def _find_by_size(self, family: str, model: str) -> ModelFacts | None:
        """A model of pictures that is listed only by their size, or by size and quality: one price for each kind."""
        kinds: dict[str, Any] = {}
        facts = None
        for row_provider, rows in self._rows.items():
            if family_of(row_provider) != family:
                continue
            for name in rows:
                listed = _SIZED.fullmatch(name)
                if listed is None or listed["model"] != model:
                    continue
                row = _EXACT.decode(rows[name])
                one = price_from_map(row, version="", name=name)
                if one is None:
                    continue
                facts = facts or _facts(name, row_provider, rows[name], self.as_of)
                size, dollars = f"{listed['wide']}x{listed['high']}", _dollars(one.image, one.per_nano)
                kinds[f"{listed['quality'] or ''}/{size}".removeprefix("/")] = dollars
                if listed["quality"] in (None, *_QUALITIES_USUAL):
                    kinds.setdefault(size, dollars)
        if facts is None:
            return None
        told = {key: value for key, value in facts.row.items() if "cost" not in key}
        row = {**told, "mode": "image_generation", IMAGES_BY_KIND: kinds}
        price = price_from_map(row, version=price_version(self.as_of, row), name=model)
        shown = {**row, IMAGES_BY_KIND: {kind: float(dollars) for kind, dollars in kinds.items()}}
        return msgspec.structs.replace(facts, name=model, row=shown, price=price)

    def find_image(self, provider: str, model: str, *, size: str = "", quality: str = "") -> ModelFacts | None:
        """Like `find`, for pictures of this size ("1024x1024") and quality alone."""
        facts = self.find(provider, model)
        if facts is None or facts.price is None or not (facts.price.images_by_kind or facts.price.pixel):
            return facts
        row = {key: value for key, value in facts.row.items() if "cost" not in key}
        dollars = _dollars(facts.price.image_of(image_kind(size, quality)), facts.price.per_nano)
        exact = {**row, "output_cost_per_image": dollars}
        return msgspec.structs.replace(
            facts,
            row={**row, "output_cost_per_image": float(dollars)},
            price=price_from_map(exact, version=facts.price.version, name=facts.name),
        )

    def infer_provider(self, bare_model: str) -> str | None:
        """Who serves a model named without a provider: who the catalog says, else whose names look like this."""
        for provider, rows in self._rows.items():
            if bare_model in rows:
                # Google lists them for both of its services; the one that needs nothing but a key is meant.
                if bare_model.startswith("gemini-"):
                    return "gemini"
                return provider if provider.startswith("text-completion-") else family_of(provider)
        for pattern, provider in _PROVIDER_BY_NAME:
            if pattern.match(bare_model):
                return provider
        return None

    def names_of_provider(self, provider: str) -> list[str]:
        """The models that a provider serves, sorted, as it names them itself: what `provider/*` stands for."""
        family = family_of(provider)
        prefixes = (f"{family}/", f"{family.replace('_', '-')}/")
        names = set()
        for row_provider, rows in self._rows.items():
            if family_of(row_provider) != family:
                continue
            for name in rows:
                bare = name
                for prefix in prefixes:
                    bare = bare.removeprefix(prefix)
                if not _NOT_A_MODEL.search(bare):
                    names.add(bare)
        return sorted(names)


#: What of a request a price per picture depends on, where the request says nothing of it.
IMAGE_SIZE_USUAL = "1024x1024"
_QUALITIES_USUAL = ("standard", "medium")


def image_kind(size: str, quality: str) -> str:
    """What `UsageDetails.image_kind` says of a request for pictures: "hd/1024x1792". Sizes and qualities that leave the choice
    to the provider ("auto") count as the usual ones.
    """
    size = size if size and size != "auto" else IMAGE_SIZE_USUAL
    return size if quality in ("", "auto", *_QUALITIES_USUAL) else f"{quality}/{size}"


def custom_price(
    prices: Row, base: ModelFacts | None, *, mode: str | None = None, terms: Terms = AS_LISTED
) -> Price | None:
    """The price that a configuration writes for a deployment, in the map's keys; None when the model stays unpriced.

    What is written stands alone: cached tokens then cost what input costs unless their price is written too. Where that
    does not price the mode, the rest is what `base` asks, but for what follows from a price written anew. Where neither
    the configuration nor the list tells a mode, it is that of what is priced: a chat's for tokens, else pictures, sound
    or queries. Without prices it is the price of `base`. Raises ConfigError.
    """
    if not prices:
        return listed_price(base, terms=terms)
    name, listed = (base.name, base.row) if base else ("", {})
    per_token = any("token" in key for key in prices) or "tiered_pricing" in prices
    alone = {"mode": mode or listed.get("mode") or ("chat" if per_token else ""), **prices}
    completed = {**_inherited(listed, prices), **alone}
    try:
        written = price_from_map(alone, version=price_version("config", alone), name=name, terms=terms)
        if written is not None:
            return written
        return price_from_map(completed, version=price_version("config", completed), name=name, terms=terms)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ConfigError([f"a price cannot be read: {error}"]) from error


def listed_price(facts: ModelFacts | None, *, place: str = "", terms: Terms = AS_LISTED) -> Price | None:
    """What the catalog asks for a model whose calls all go to one place (see `uplift_in`), on these terms."""
    if facts is None or facts.price is None:
        return None
    uplift = uplift_in(facts.row, place)
    if uplift == 1 and terms == AS_LISTED:
        return facts.price
    named = f"{terms.name}@{place}" if uplift != 1 else terms.name
    terms = msgspec.structs.replace(terms, name=named, tokens=terms.tokens * uplift)
    version, _, _ = facts.price.version.partition("/")
    return price_from_map(facts.row, version=version, name=facts.name, terms=terms)


_OPENAI_REGION = re.compile(r"([a-z]{2})\.api\.openai\.com")


def place_of(provider: str, host: str, location: str) -> str:
    """The place that all calls of a deployment go to, as `listed_price` takes it: by the address's host name at OpenAI, by
    the configured location at Google; "" where the price does not depend on it.
    """
    if provider == "openai":
        region = _OPENAI_REGION.fullmatch(host.lower())
        return "" if region is None else "us" if region[1] == "us" else "eu"  # all but the US ask the same
    if provider == "vertex_ai":
        return "" if location in ("", "global") else "regional"
    return ""


def family_of(provider: str) -> str:
    """The one name of a provider that the map lists under several."""
    if provider.startswith(("vertex_ai-", "vertex_ai_")):
        return "vertex_ai"
    return _FAMILIES.get(provider, provider)


# --- rows ----------------------------------------------------------------------------------------------------------


class _File(Struct):
    rows: dict[str, dict[str, Raw]]
    as_of: str
    about: str = ""


_FILE = msgspec.json.Decoder(_File)
_LISTED = msgspec.json.Decoder(dict[str, Any])
#: Prices are read from the digits themselves.
_EXACT = msgspec.json.Decoder(dict[str, Any], float_hook=str)


def _facts(name: str, provider: str, raw: Raw, as_of: str) -> ModelFacts:
    row = {**_LISTED.decode(raw), "litellm_provider": provider}
    exact = {**_EXACT.decode(raw), "litellm_provider": provider}
    mode = str(row.get("mode") or "")
    if mode in _MODES_WITH_TOOLS:
        row, exact = ({**_asked_of_all(provider), **listed} for listed in (row, exact))
    abilities = frozenset(key[9:] for key, value in row.items() if value is True and key.startswith("supports_"))
    # `max_tokens` is the output limit where one is known and the window where none is.
    legacy = row.get("max_tokens")
    return ModelFacts(
        name=name,
        provider=family_of(provider),
        mode=mode,
        input_tokens_max=_count(row.get("max_input_tokens")),
        output_tokens_max=_count(row.get("max_output_tokens", legacy if "max_input_tokens" in row else None)),
        image_tokens_max=_image_tokens_max(name),
        abilities=abilities,
        input_modalities=_input_modalities(row, mode, abilities),
        output_modalities=_output_modalities(row, mode, abilities),
        price=price_from_map(exact, version=price_version(as_of, exact), name=name),
        source=str(row.get("source") or ""),
        row=row,
    )


def _asked_of_all(provider: str) -> Row:
    """What a provider asks for the same thing with every model that does not list it: OpenAI $2.50 for a thousand searches of
    files and $10 for a thousand of the web (https://platform.openai.com/docs/pricing, 2026-11), Anthropic $10
    (https://platform.claude.com/docs/en/about-claude/pricing, 2026-11), Perplexity $2.50
    (https://docs.perplexity.ai/docs/getting-started/pricing, 2026-10).
    """
    return _ASKED_OF_ALL.get(provider, {})


_MODES_WITH_TOOLS = ("chat", "responses")
_SEARCH = {"search_context_cost_per_query": {"search_context_size_medium": "0.01"}}
_ASKED_OF_ALL: Mapping[str, Row] = {
    "openai": {"file_search_cost_per_1k_calls": "2.5", **_SEARCH},
    "anthropic": _SEARCH,
    "perplexity": {"search_context_cost_per_query": {"search_context_size_medium": "0.0025"}},
}


def _dollars(units: int, per_nano: int) -> Decimal:
    """Nano-dollars as dollars, exactly: rates were decimals."""
    return Decimal(units) / per_nano / NANO_PER_DOLLAR


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None


_MODALITIES = ("text", "image", "audio", "video", "pdf")
_INPUT_OF_MODE = {"audio_transcription": "audio", "image_edit": "image", "ocr": "pdf"}
_OUTPUT_OF_MODE = {
    "image_generation": "image",
    "image_edit": "image",
    "audio_speech": "audio",
    "video_generation": "video",
    "embedding": "embedding",
    "rerank": "score",
}


def _input_modalities(row: Row, mode: str, abilities: frozenset[str]) -> tuple[str, ...]:
    taken = set(row.get("supported_modalities") or ()) | {_INPUT_OF_MODE.get(mode, "text")}
    if not abilities.isdisjoint(("vision", "image_input", "embedding_image_input")):
        taken.add("image")
    taken.update(kind for kind in ("audio", "video", "pdf") if f"{kind}_input" in abilities)
    return tuple(kind for kind in _MODALITIES if kind in taken)


def _output_modalities(row: Row, mode: str, abilities: frozenset[str]) -> tuple[str, ...]:
    given = set(row.get("supported_output_modalities") or (_OUTPUT_OF_MODE.get(mode, "text"),))
    if "audio_output" in abilities:
        given.add("audio")
    return tuple(kind for kind in (*_MODALITIES, "embedding", "score") if kind in given)


#: The most tokens that one picture sent can count, by a part of the model's name: eight tiles of 5 667 and 2 833 for
#: gpt-4o-mini (https://platform.openai.com/docs/guides/images-vision), some 4 800 at Anthropic's highest resolution
#: (https://platform.claude.com/docs/en/build-with-claude/vision), sixteen tiles of 258 for Gemini
#: (https://ai.google.dev/gemini-api/docs/image-understanding); all 2026-11.
_IMAGE_TOKENS_MAX = (("gpt-4o-mini", 48_169), ("claude", 5_000), ("gemini", 5_000))


def _image_tokens_max(name: str) -> int | None:
    return next((tokens for part, tokens in _IMAGE_TOKENS_MAX if part in name), None)


def _inherited(listed: Row, prices: Row) -> Row:
    anew: tuple[str, ...] = ()
    if "input_cost_per_token" in prices:
        anew += ("input_cost_per_", "cache_", "tiered_pricing")
    if "output_cost_per_token" in prices:
        anew += ("output_cost_per_", "tiered_pricing")
    return {key: value for key, value in listed.items() if not key.startswith(anew)}


# --- names ---------------------------------------------------------------------------------------------------------

_FAMILIES = {
    "ai21_chat": "ai21",
    "anthropic_text": "anthropic",
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai-embedding-models": "fireworks_ai",
    "ollama_chat": "ollama",
    "sagemaker_chat": "sagemaker",
    "text-completion-codestral": "codestral",
    "text-completion-inception": "inception",
    "text-completion-openai": "openai",
    "watsonx_text": "watsonx",
}

_PROVIDER_BY_NAME = tuple(
    (re.compile(pattern), provider)
    for pattern, provider in (
        (r"claude-", "anthropic"),
        (r"(ft:)?(gpt|chatgpt)-|(ft:)?o[0-9]|dall-e-|text-embedding-|whisper-|tts-", "openai"),
        (r"gemini-", "gemini"),
        (r"command-", "cohere"),
        (r"(mistral|codestral|magistral|ministral)-", "mistral"),
        (r"deepseek-", "deepseek"),
        (r"grok-", "xai"),
        (r"(kimi|moonshot)-", "moonshot"),
    )
)

_SIZED = re.compile(r"(?:[\w-]+/)?(?:(?P<quality>[a-z]+)/)?(?P<wide>\d+)-x-(?P<high>\d+)/(?P<model>.+)")

#: Rows that price a size, a commitment, a size class or a side product and cannot be asked for by that name.
_NOT_A_MODEL = re.compile(r"-x-|\*|-month-commitment/|^(fireworks|together)-ai-|^container$|^guardrails$")

_DATE = re.compile(r"(-\d{8}|-\d{4}-\d{2}-\d{2}|@\d{8}|@default|@latest)$")
_BEDROCK_ROUTE = re.compile(r"^(bedrock/|converse/|converse_like/|invoke/)+")
#: Inference profiles: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html, 2026-11.
_BEDROCK_GEOGRAPHY = re.compile(r"^(?:us-gov|global|apac|[a-z]{2})\.(?=[a-z0-9-]+\.)")
_BEDROCK_CONTEXT = re.compile(r":\d+k$")
_BEDROCK_REVISION = re.compile(r":\d+$")
_BEDROCK_VERSION = re.compile(r"-v\d+$")


def _variants(family: str, model: str) -> Iterator[str]:
    """Names under which this model may be listed, the closest first."""
    tried = dict.fromkeys([model])
    if family == "bedrock":
        tried.update(dict.fromkeys(_bedrock_variants(model)))
    elif family in ("vertex_ai", "gemini"):
        tried[model.rsplit("/", 1)[-1]] = None  # "publishers/google/models/..." and "models/..."
    elif family == "fireworks_ai":
        tried[f"accounts/fireworks/models/{model}"] = None
    elif family == "replicate":
        name = model.partition(":")[0]  # "owner/name:version"
        tried[name] = tried[name.replace("meta/meta-", "meta/")] = None  # listed as "meta/llama-3-70b-instruct"
    elif model.startswith("ft:"):
        tried[":".join(model.split(":")[:2])] = None  # "ft:gpt-4o-2024-08-06:organisation:name:id"
    for name in tuple(tried):
        tried[_DATE.sub("", name)] = None
    return iter(tried)


def _bedrock_variants(model: str) -> Iterator[str]:
    model = _BEDROCK_ROUTE.sub("", model)
    yield model  # "us-east-1/anthropic.claude-..." prices that region
    model = model.rsplit("/", 1)[-1]  # also the last part of an inference profile's ARN
    for placed in (model, _BEDROCK_GEOGRAPHY.sub("", model)):
        yield placed
        revision = _BEDROCK_CONTEXT.sub("", placed)
        yield revision
        version = _BEDROCK_REVISION.sub("", revision)
        yield version
        yield _BEDROCK_VERSION.sub("", version)
