"""What a provider's error means, whatever dialect it was said in: its words, cleaned, in our tree of errors.

A client gets the provider's own short sentence: no key, no nested JSON, no markup. What is wrong with *our* account at
the provider is ours alone: the client learns that there is such a trouble, never its text, which may hold pieces of a
key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from tollway.errors import (
    ContentPolicyViolation,
    ContextWindowExceeded,
    UpstreamAccountError,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)

MESSAGE_CHARS_MAX = 2000
PLAIN_TEXT_CHARS_MAX = 300
#: A message may hold another error as JSON, and that another: gateways before gateways. Deeper than this nobody goes.
NESTING_MAX = 8


class Said(Struct):
    """What a provider said: `type`, `code` and `param` are "" where it did not. `page`: it was a web page, not an API's answer."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""
    page: bool = False


# --- reading -------------------------------------------------------------------------------------------------------


def read_error_body(body: bytes) -> Said:
    """The error in a body of any shape: OpenAI's, Anthropic's, Google's, FastAPI's `detail`, plain text, HTML,
    nothing.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace")
        return Said(message=clean(_plain(text)), page=text.lstrip("\ufeff \t\r\n").startswith("<"))
    return said_in(value)


def said_in(value: Any) -> Said:
    """The error in a JSON value. The innermost `error` object speaks; what it leaves out is taken from around it."""
    said = Said()
    _gather(value, said, 0)
    said.message = clean(said.message)
    return said


def _gather(value: Any, said: Said, depth: int) -> None:
    if isinstance(value, list) and value:
        value = value[0]  # Google wraps its error in a list; FastAPI lists what is wrong
    if isinstance(value, str):
        _gather_text(value, said, depth)
        return
    if not isinstance(value, dict) or depth > NESTING_MAX:
        return
    said.type = _word(value.get("type")) or _word(value.get("status")) or said.type
    said.code = _word(value.get("code")) or said.code
    inner = value.get("innererror") or value.get("inner_error")
    if isinstance(inner, dict) and not said.code:
        said.code = _word(inner.get("code"))  # Azure's, which says what its outer code does not
    said.param = _word(value.get("param")) or said.param
    if (raw := _relayed(value)) is not None:
        _gather(raw, said, depth + 1)
        if said.message:
            return
    for name in ("error", "message", "detail", "msg", "error_message", "err_msg", "errors", "title", "reason"):
        if value.get(name):
            _gather(value[name], said, depth + 1)
            return


def _relayed(value: dict[str, Any]) -> Any:
    """What a gateway got from the provider behind it, where its own words are only that there was something.

    https://openrouter.ai/docs/api-reference/errors (2026-11-22)
    """
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or value.get("message") not in ("Provider returned error", "ERROR", ""):
        return None
    return metadata.get("raw") or None


def _gather_text(text: str, said: Said, depth: int) -> None:
    stripped = text.strip()
    brace = stripped.find("{")
    if brace >= 0 and stripped.endswith("}") and depth < NESTING_MAX:
        try:
            inner = msgspec.json.decode(stripped[brace:])
        except msgspec.DecodeError:
            inner = None
        if isinstance(inner, dict) and ("error" in inner or "message" in inner):
            _gather(inner, said, depth + 1)
            return
    said.message = _plain(stripped) if stripped.startswith("<") else stripped


def _word(value: Any) -> str:
    """A code or a type: short text, or a number. "None" is what some servers write for nothing."""
    if isinstance(value, bool) or value is None or value in ("None", "null"):
        return ""
    if isinstance(value, int):
        return str(value)
    return value[:100] if isinstance(value, str) else ""


_MARKUP = re.compile(r"(?is)<(script|style|head)\b.*?</\1\s*>|<[^>]*>")
_SPACE = re.compile(r"\s+")


def _plain(text: str) -> str:
    """A page or a plain text: its first words, without markup."""
    return _SPACE.sub(" ", _MARKUP.sub(" ", text[: 64 << 10])).strip()[:PLAIN_TEXT_CHARS_MAX]


_SECRETS = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[\w\-.=+/*~]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|r8|hf|nvapi|pplx|fw|csk|tgp|key|api|org|proj)[-_][\w\-*.]{8,}"
    r"|\bAIza[\w\-*]{10,}|\bAKIA[A-Z0-9*]{12,}|\beyJ[\w\-]{10,}(?:\.[\w\-]+)*"
    r"|(?<=key=)[\w\-*]{6,}"
)


def clean(message: str) -> str:
    """Without anything that looks like a secret, and not longer than MESSAGE_CHARS_MAX."""
    return _SECRETS.sub("***", message[:MESSAGE_CHARS_MAX])


# --- judging -------------------------------------------------------------------------------------------------------

#: What a provider says, in whatever case, when a prompt does not fit. Where each was seen stands in tests/test_failures.py.
CONTEXT_WINDOW_TEXTS = (
    "`inputs` must have less than",
    "contextwindowexceedederror",
    "exceeded max context length",
    "exceeded model token limit",
    "exceeds maximum context length",
    "exceeds the context length",
    "exceeds the model's maximum context length",
    "expected maxlength:",
    "input tokens exceeded",
    "longer than the maximum model length",
    "please reduce the length of the messages or completion",
    "please reduce the length of the prompt",
    "prompt exceeds max length",
    "prompt too long",
    "range of input length should be",
    "too large for model with",
    "too long to fit into the model",
    "exceed context limit",
    "maximum context length is",
    "string too long. expected a string with maximum length",
    "model's maximum context limit",
    "is longer than the model's context length",
    "input tokens exceed the configured limit",
    "`inputs` tokens + `max_new_tokens` must be",
    "exceeds the available context size",
    "exceeds the maximum number of tokens allowed",
    "prompt is too long",
    "input is too long",
    "too many tokens",
    "maximum prompt length",
    "exceeds the context window",
    "exceeds the model's context",
    "context window exceeds limit",
    "context_length_exceeded",
    "input token count exceeds",
    "exceed the context window",
)
_CURRENT_LENGTH = re.compile(r"current length is .{1,40} while limit is|maximum (?:context|prompt|input) length of ")
CONTEXT_WINDOW_CODES = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "model_context_window_exceeded",
        "string_above_max_length",
    }
)

CONTENT_POLICY_TEXTS = (
    "violating our usage policy",
    "request was rejected as a result of the safety system",
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "content_filter_policy",
    "azure openai's content management",
    "the model produced invalid content",
    "output blocked by content filtering policy",
    "content exists risk",
    "content violates usage guidelines",
    "contentpolicyviolationerror",
    "considered high risk",
    "datainspectionfailed",
    "data may contain inappropriate content",
    "responsible ai practices",
    "unsafe or sensitive content",
    "your input was flagged",
)
CONTENT_POLICY_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "moderation_blocked",
        "DataInspectionFailed",
        "ResponsibleAIPolicyViolation",
    }
)

ACCOUNT_STATUSES = frozenset({401, 402, 403})
ACCOUNT_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
)
ACCOUNT_TEXTS = (
    "credit balance is too low",
    "exceeded your current quota, please check your plan",
    "insufficient balance",
    "api key not valid",
    "api key expired",
    "incorrect api key provided",
)


def failure(status: int, said: Said, *, provider: str = "", retry_after_s: float | None = None) -> UpstreamError:
    """The error that a provider's answer with `status` (400 to 599) means."""
    text = said.message.lower()
    name = provider or "behind this model"
    if _about_our_account(status, said, text):
        refused_us = UpstreamAccountError(
            f"The provider {name} refused this gateway's account ({status}). "
            "An administrator must check its key or billing.",
            upstream_status=status,
            retryable_by_client=False,
        )
        refused_us.provider_said = said.message
        return refused_us
    message = said.message or f"The provider {name} answered with status {status} and no explanation."
    if said.page:
        words = f" It says: {said.message}" if said.message else ""
        message = f"The provider {name} answered with a web page instead of an API's answer (status {status}).{words}"
    code, param = said.code or None, said.param or None
    if retry_after_s is None and status in (413, 429, 503):
        retry_after_s = _told_pause_s(text)
    if status != 429 and status <= 500 and (refused := _recognised(status, said, text, message)):
        return refused
    if status in (408, 504):
        return UpstreamTimeout(message, upstream_status=status, code=code, retry_after_s=retry_after_s)
    if status == 429 or (status == 413 and said.code == "rate_limit_exceeded"):
        # Groq's 413 is about tokens a minute, not about the model: another deployment may have room.
        return UpstreamRateLimited(message, upstream_status=status, code=code, retry_after_s=retry_after_s)
    if status == 529 or said.type == "overloaded_error":
        return UpstreamFailed(
            message, status=503, type="overloaded_error", upstream_status=status, code=code, retry_after_s=retry_after_s
        )
    if status >= 500:
        return UpstreamFailed(message, status=status, upstream_status=status, code=code, retry_after_s=retry_after_s)
    return _refusal(status, said, message, code, param)


def _recognised(status: int, said: Said, text: str, message: str) -> UpstreamError | None:
    """A prompt that does not fit or that the provider does not like. Both come with any status, 500 too."""
    words = (said.code, said.type)
    param = said.param or None
    pace = said.code == "rate_limit_exceeded"
    if not pace and (
        any(word in CONTEXT_WINDOW_CODES for word in words)
        or any(phrase in text for phrase in CONTEXT_WINDOW_TEXTS)
        or _CURRENT_LENGTH.search(text)
    ):
        return ContextWindowExceeded(message, upstream_status=status, param=param)
    if any(word in CONTENT_POLICY_CODES for word in words) or any(phrase in text for phrase in CONTENT_POLICY_TEXTS):
        # The provider's own word, where it is one that says more than that something was wrong.
        says_nothing = said.code in ("", "invalid_request_error") or said.code.isdigit() or " " in said.code
        code = "content_policy_violation" if says_nothing else said.code
        return ContentPolicyViolation(message, upstream_status=status, code=code, param=param)
    return None


def _refusal(status: int, said: Said, message: str, code: str | None, param: str | None) -> UpstreamError:
    kind = said.type if said.type in ("invalid_request_error", "not_found_error", "request_too_large") else None
    return UpstreamRefused(message, status=status, type=kind, upstream_status=status, code=code, param=param)


def _about_our_account(status: int, said: Said, text: str) -> bool:
    if status in ACCOUNT_STATUSES:
        # 403 is also how some say "not this content": that is about the request, not about us.
        return not (
            status == 403
            and (said.code in CONTENT_POLICY_CODES or any(words in text for words in CONTENT_POLICY_TEXTS))
        )
    if (
        said.code in ACCOUNT_CODES
        or said.type in ACCOUNT_CODES
        or said.type in ("authentication_error", "billing_error")
    ):
        return True
    # A key that Google does not know is a 400 there; an empty purse is one at Anthropic.
    return any(words in text for words in ACCOUNT_TEXTS)


#: The status that an error's type or code stands for where no status line can say it: inside a stream.
STATUS_BY_WORD = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 429,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit": 429,
    "tokens": 429,
    "requests": 429,
    "RESOURCE_EXHAUSTED": 429,
    "timeout_error": 504,
    "timeout": 504,
    "overloaded_error": 529,
    "overloaded": 529,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "service_unavailable": 503,
    "UNAVAILABLE": 503,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "content_filter": 400,
}


def stream_failure(said: Said, *, provider: str = "") -> UpstreamError:
    """The error that was sent inside a stream, after a status of 200. Its code or type tells the status; else 500."""
    for word in (said.code, said.type):
        if word.isdigit() and 400 <= int(word) <= 599:
            return failure(int(word), said, provider=provider)
        if word in STATUS_BY_WORD:
            return failure(STATUS_BY_WORD[word], said, provider=provider)
    return failure(500, said, provider=provider)


#: Longer than this nobody is told to wait by a sentence.
TOLD_PAUSE_S_MAX = 3600.0
_TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d{1,3})h)?(?:(\d{1,4})m(?!s))?"
    r"(?:(\d{1,7}(?:\.\d{1,6})?) ?(ms\b|s(?:ec(?:onds?)?)?\b))?"
)


def _told_pause_s(text: str) -> float | None:
    """Seconds from "please try again in 7.66s" or "in 1m12s", as OpenAI and Groq write it beside or instead of a header."""
    found = _TRY_AGAIN.search(text)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, number, unit = found.groups()
    seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(number or 0) / (1000 if unit == "ms" else 1)
    return seconds if 0 < seconds <= TOLD_PAUSE_S_MAX else None


def retry_after_s(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`; one that is a date is taken against the answer's own `date`. None where
    neither says anything.
    """
    told = {name.lower(): value for name, value in headers}
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        try:
            number = float(told.get(name, b""))
        except ValueError:
            continue
        if 0 <= number < 1e9:
            return number / unit
    until, now = _date(told.get(b"retry-after")), _date(told.get(b"date"))
    return max(0.0, (until - now).total_seconds()) if until is not None and now is not None else None


def _date(value: bytes | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value.decode("latin-1")) if value else None
    except (ValueError, IndexError):
        return None
    return date if date is not None and date.tzinfo is not None else None
