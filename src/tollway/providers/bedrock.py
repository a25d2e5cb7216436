"""Amazon Bedrock (https://docs.aws.amazon.com/bedrock/latest/userguide/inference.html, 2026-11-22).

Address: `bedrock-runtime.{region}.amazonaws.com`; the region is the entry's, one in the model's name
(`us-west-2/anthropic.claude-...`, an ARN), or a variable's. Greeting: a Bedrock API key as a bearer
(https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html), else a signature (see `aws`).

Quirks: the model stands in the path, quoted whole, ARNs and all. Converse speaks to every model. Claude models also take
Anthropic's own Messages by InvokeModel, which keep what Converse has no word for
(https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html):
with `anthropic_version` in the body and neither model nor `stream`; their streams come in Amazon's frames.
`bedrock/converse/...` and `bedrock/invoke/...` choose one of the two for every client.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.dialects.bedrock_converse.errors import frame_failure
from tollway.dialects.bedrock_converse.frames import FrameCutter
from tollway.dialects.bedrock_converse.parts import CLAUDE, family_of
from tollway.errors import ConfigError, UpstreamBroken, UpstreamError
from tollway.providers import Introduction, Provider, Signer, drop_fields, first_of, greeting, header_lines, plain_url
from tollway.providers.aws import (
    PARAMETERS,
    VARIABLES,
    AwsSigner,
    endpoint,
    identity_of,
    region_in,
    region_of,
    signs,
)

CONVERSE, MESSAGES = "bedrock_converse", "anthropic_messages"

INTRODUCTION = Introduction(
    display="Amazon Bedrock",
    docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
    base_url="https://bedrock-runtime.{AWS_REGION_NAME|AWS_REGION|AWS_DEFAULT_REGION}.amazonaws.com",
    base_url_env=("AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
    key_env=("AWS_BEARER_TOKEN_BEDROCK",),
    operations=("chat",),
    other_env=VARIABLES,
    parameters=(*PARAMETERS, "aws_bedrock_runtime_endpoint"),
)

#: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
ANTHROPIC_VERSION = "bedrock-2023-05-31"
#: Those that Bedrock knows, by the same page; it refuses a call that asks for any other.
BETAS = frozenset(
    {
        "compact-2026-01-12",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "output-128k-2025-02-19",
        "token-efficient-tools-2025-02-19",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    }
)
#: Settings that only Converse has a place for: with one of them in force, nothing goes another way.
CONVERSE_SETTINGS = frozenset(
    {
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "promptVariables",
        "requestMetadata",
        "serviceTier",
    }
)
#: Ways to Bedrock that LiteLLM names in front of a model, and that are none to a chat model.
OTHER_ROUTES = frozenset({"agent", "agentcore", "async_invoke", "mantle"})

_ROUTES = re.compile(r"(?:(?:bedrock|converse|converse_like|invoke)/)*")
_INVOKE = re.compile(r"(?:bedrock/)?invoke/")
_CONVERSE = re.compile(r"(?:bedrock/)?converse(?:_like)?/")


class Bedrock(Provider):
    """`converse_only`: the entry sets what only Converse can say."""

    name = "bedrock"
    dialect = CONVERSE
    introduction = INTRODUCTION

    def __init__(self, *, converse_only: bool = False) -> None:
        self.converse_only = converse_only

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Bedrock:
        """Raises ConfigError for a way that cannot be gone."""
        model = entry.provider_model.removeprefix("bedrock/")
        place = f"{entry.place}: " if entry.place else ""
        route = model.partition("/")[0]
        if route in OTHER_ROUTES:
            raise ConfigError(
                [f"{place}the model {entry.provider_model!r}: Tollway does not speak bedrock/{route} yet"]
            )
        if _INVOKE.match(model) and "*" not in model and family_of(model) != CLAUDE:
            problem = (
                f"{place}the model {entry.provider_model!r}: invoke/ is for Claude models, which take Anthropic's Messages "
                "there; Converse speaks to this one too: leave invoke/ out"
            )
            raise ConfigError([problem])
        settings = entry.defaults.keys() | entry.extra_body.keys()
        return Bedrock(converse_only=True) if settings & CONVERSE_SETTINGS else self

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        written = entry.provider_params.get("aws_bedrock_runtime_endpoint") or entry.api_base
        written = written or first_of(INTRODUCTION.base_url_env, environment)
        if isinstance(written, Secret):
            written = written.reveal()
        return plain_url(self.name, written or endpoint("bedrock-runtime", self._region(entry, environment)), entry)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """A Bedrock API key; None where requests are signed."""
        if entry.api_key is not None or signs(entry):
            return entry.api_key
        found = first_of(INTRODUCTION.key_env, environment)
        return Secret(found) if found else None

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, greeting("bearer", key), entry)

    def path(self, operation: str, model: str) -> str | None:
        return self.chat_path(self.dialects(model)[0], model, streaming=False) if operation == "chat" else None

    def dialects(self, model: str) -> tuple[str, ...]:
        if self.converse_only or family_of(model) != CLAUDE or _CONVERSE.match(model):
            return (CONVERSE,)
        return (MESSAGES,) if _INVOKE.match(model) else (CONVERSE, MESSAGES)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        if dialect == CONVERSE:
            ending = "converse-stream" if streaming else "converse"
        else:
            ending = "invoke-with-response-stream" if streaming else "invoke"
        return f"/model/{quote(model_id(model), safe='')}/{ending}"

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        if self.key(entry, environment) is not None:
            return None
        region = self._region(entry, environment)
        return AwsSigner("bedrock", identity_of(self.name, entry, environment, region))

    def model_name(self, model: str) -> str:
        """As it is written: the region in it may have a price of its own."""
        return model

    def adapt(self, fields: dict[str, Raw]) -> list[str]:
        """InvokeModel refuses fields that it does not know; these change nothing of what is said."""
        return drop_fields(fields, ("inference_geo", "service_tier", "speed"))

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        """InvokeModel takes Anthropic's body without what stands in the path, and betas in it instead of a header."""
        if dialect == MESSAGES:
            fields.pop("model", None)
            fields.pop("stream", None)
            fields.setdefault("anthropic_version", ANTHROPIC_VERSION)
            if known := [flag for flag in dict.fromkeys(betas) if flag in BETAS]:
                fields.setdefault("anthropic_beta", known)

    def unwrapper(self, dialect: str) -> InvokeUnwrapper | None:
        return InvokeUnwrapper() if dialect == MESSAGES else None

    def _region(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        return region_of(self.name, entry, environment, region_in(_ROUTES.sub("", entry.provider_model, count=1)))


def model_id(model: str) -> str:
    """What Bedrock calls a model that is written with a way or a region in front of it."""
    bare = _ROUTES.sub("", model, count=1)
    region = region_in(bare)
    return bare.removeprefix(region + "/") if region else bare


class _Chunk(Struct, gc=False):
    bytes: str = ""


class _Event(Struct, gc=False):
    type: str = ""


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class InvokeUnwrapper:
    """The frames of InvokeModelWithResponseStream as the server-sent events that they stand for.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html (2026-11-22)
    """

    def __init__(self) -> None:
        self._cutter = FrameCutter()
        self.before_error = b""

    def feed(self, data: bytes) -> bytes:
        """Raises the UpstreamError that an exception's frame tells, or UpstreamBroken."""
        out: list[bytes] = []
        try:
            for frame in self._cutter.feed(data):
                if frame.kind != "event":
                    raise frame_failure(frame)
                if frame.name == "chunk":
                    out.append(_server_sent(frame.payload))
        except UpstreamError:
            self.before_error = b"".join(out)
            raise
        return b"".join(out)


def _server_sent(chunk: bytes) -> bytes:
    try:
        event = base64.b64decode(_decode_chunk(chunk).bytes, validate=True)
        kind = _decode_event(event).type
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise UpstreamBroken("The provider sent a chunk that is not an event in base64.") from error
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), event)
