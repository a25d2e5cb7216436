"""Amazon SageMaker endpoints that speak OpenAI's chat completions, as vLLM, SGLang, TGI and Nova containers do.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html (2026-11-22). Quirks: the
endpoint's name is the model and stands in the path; requests are signed; a stream's server-sent events come inside
Amazon's frames
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec import Raw

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.dialects.bedrock_converse.errors import frame_failure
from tollway.dialects.bedrock_converse.frames import FrameCutter
from tollway.errors import UpstreamError
from tollway.providers import Introduction, Provider, Signer, first_of, greeting, header_lines, plain_url
from tollway.providers.aws import PARAMETERS, VARIABLES, AwsSigner, endpoint, identity_of, region_of

INTRODUCTION = Introduction(
    display="Amazon SageMaker",
    docs="https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html",
    base_url="https://runtime.sagemaker.{AWS_REGION_NAME|AWS_REGION|AWS_DEFAULT_REGION}.amazonaws.com",
    base_url_env=("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",),
    key_needed=False,
    operations=("chat",),
    other_env=VARIABLES,
    parameters=PARAMETERS,
)


class SageMaker(Provider):
    dialect = "openai_chat"
    introduction = INTRODUCTION

    def __init__(self, name: str) -> None:
        self.name = name

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> SageMaker:
        return self

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        written = entry.api_base or first_of(INTRODUCTION.base_url_env, environment)
        region = region_of(self.name, entry, environment)
        return plain_url(self.name, written or endpoint("runtime.sagemaker", region), entry)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return None

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, greeting("bearer", key), entry)

    def path(self, operation: str, model: str) -> str | None:
        return self.chat_path(self.dialect, model, streaming=False) if operation == "chat" else None

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return f"/endpoints/{quote(model, safe='')}/invocations" + ("-response-stream" if streaming else "")

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        region = region_of(self.name, entry, environment)
        return AwsSigner("sagemaker", identity_of(self.name, entry, environment, region))

    def model_name(self, model: str) -> str:
        return model

    def adapt(self, fields: dict[str, Raw]) -> list[str]:
        return []

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        """The endpoint is the model."""
        fields.pop("model", None)

    def unwrapper(self, dialect: str) -> PayloadUnwrapper | None:
        return PayloadUnwrapper()


class PayloadUnwrapper:
    """The frames of InvokeEndpointWithResponseStream: their payloads are the stream itself, cut anywhere."""

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
                if frame.name == "PayloadPart":
                    out.append(frame.payload)
        except UpstreamError:
            self.before_error = b"".join(out)
            raise
        return b"".join(out)
