"""Amazon's errors: in a status line with `x-amzn-errortype`, or as a frame of a stream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html (2026-11-22). A name is written in several ways:
`ThrottlingException`, `throttlingException`, `ThrottlingException:http://internal.amazon.com/...`, and with a shape's
namespace before a `#`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tollway.dialects.bedrock_converse.frames import Frame
from tollway.errors import ContextWindowExceeded, UpstreamError
from tollway.failures import Said, clean, failure, read_error_body, retry_after_s

#: The status that a name stands for; it goes before the one in the status line, which some services choose differently.
STATUS_BY_NAME = {
    "accessdenied": 403,
    "expiredtoken": 403,
    "incompletesignature": 403,
    "internalserver": 500,
    "internalfailure": 500,
    "internalstreamfailure": 500,  # SageMaker's
    "invalidclienttokenid": 403,
    "invalidsignature": 403,
    "missingauthenticationtoken": 403,
    "modelnotready": 503,  # its status is 429, and it is not about pace
    "modeltimeout": 504,
    "notauthorized": 403,
    "optinrequired": 403,
    "requestexpired": 403,
    "resourcenotfound": 404,
    "servicequotaexceeded": 429,
    "serviceunavailable": 503,
    "signaturedoesnotmatch": 403,
    "throttling": 429,
    "toomanyrequests": 429,
    "unrecognizedclient": 403,
    "validation": 400,
}
#: The model behind the API failed: what it said itself stands in `originalStatusCode`.
MODEL_FAILURES = frozenset({"model", "modelstream"})
#: Of those statuses, what would be taken for this gateway's own account, or says no more than that the model failed.
_NOT_THE_MODELS = frozenset({401, 402, 403, 424})

#: What models on Bedrock say of a prompt that does not fit, beside what `tollway.failures` knows.
_TOO_LONG = re.compile(
    r"too many input tokens|input (?:sequence )?is too long|prompt (?:token count|length) .{0,40}exceeds?"
    r"|exceeds? the (?:maximum|model's) (?:context|input|prompt)|maximum context length"
)


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    named = next((value for name, value in headers if name.lower() == b"x-amzn-errortype"), b"")
    fields = _object(body)
    name = named.decode("latin-1") or str(fields.get("__type") or fields.get("code") or "")
    said = Said(message=_message(fields)) if _message(fields) else read_error_body(body)
    return _failure(name, status, said, fields, provider, retry_after_s(headers))


def frame_failure(frame: Frame) -> UpstreamError:
    """The error that an exception's or an error's frame tells, after a status of 200."""
    fields = _object(frame.payload)
    said = Said(message=clean(frame.message) or _message(fields))
    if not said.message:
        said.message = f"The provider ended its stream with {_plain_name(frame.name) or 'an error'!r}."
    return _failure(frame.name, 500, said, fields, "", None)


def _failure(
    name: str, status: int, said: Said, fields: dict[str, Any], provider: str, after: float | None
) -> UpstreamError:
    word = _plain_name(name).lower().removesuffix("exception").removesuffix("error")
    if word in MODEL_FAILURES:
        original = fields.get("originalStatusCode") or fields.get("OriginalStatusCode")
        told = original if isinstance(original, int) and 400 <= original <= 599 else 502
        status = 502 if told in _NOT_THE_MODELS else told
        original_message = fields.get("originalMessage") or fields.get("OriginalMessage")
        if isinstance(original_message, str) and original_message:
            said.message = clean(original_message)
    else:
        status = STATUS_BY_NAME.get(word, status)
    said.type = _plain_name(name)
    if status == 400 and _TOO_LONG.search(said.message.lower()):
        return ContextWindowExceeded(said.message, upstream_status=status)
    return failure(status, said, provider=provider, retry_after_s=after)


def _plain_name(name: str) -> str:
    return name.rpartition("#")[2].partition(":")[0].strip()


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _message(fields: dict[str, Any]) -> str:
    for name in ("message", "Message", "errorMessage"):
        if isinstance(value := fields.get(name), str) and value:
            return clean(value)
    return ""
