"""What a provider's error means, whatever dialect it was said in: its words, cleaned, in our tree of errors.

A client gets the provider's own short sentence: no key, no nested JSON, no markup. What is wrong with *our* account at
the provider is ours alone: the client learns that there is such a trouble, never its text, which may hold pieces of a
key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    """What a provider said: `type`, `code` and `param` are "" where it did not."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""


# --- reading -------------------------------------------------------------------------------------------------------


def read_error_body(body: bytes) -> Said:
    """The error in a body of any shape: OpenAI's, Anthropic's, Google's, FastAPI's `detail`, plain text, HTML,
    nothing.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said(message=clean(_plain(body.decode("utf-8", "replace"))))
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
    said.param = _word(value.get("param")) or said.param
    for name in ("error", "message", "detail", "msg", "error_message", "errors", "title", "reason"):
        if value.get(name):
            _gather(value[name], said, depth + 1)
            return


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

#: What a provider says, in whatever case, when a prompt does not fit.
CONTEXT_WINDOW_TEXTS = (
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
_CURRENT_LENGTH = re.compile(r"current length is .{1,40} while limit is")
CONTEXT_WINDOW_CODES = frozenset(
    {"context_length_exceeded", "string_above_max_length", "model_context_window_exceeded"}
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
)
CONTENT_POLICY_CODES = frozenset(
    {"content_policy_violation", "content_filter", "moderation_blocked", "ResponsibleAIPolicyViolation"}
)

ACCOUNT_STATUSES = frozenset({401, 402, 403})
ACCOUNT_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
)
ACCOUNT_TEXTS = (
    "credit balance is too low",
    "exceeded your current quota, please check your plan",
    "insufficient balance",
)


def failure(status: int, said: Said, *, provider: str = "", retry_after_s: float | None = None) -> UpstreamError:
    """The error that a provider's answer with `status` (400 to 599) means."""
    text = said.message.lower()
    name = provider or "behind this model"
    if _about_our_account(status, said, text):
        return UpstreamAccountError(
            f"The provider {name} refused this gateway's account ({status}). "
            "An administrator must check its key or billing.",
            upstream_status=status,
            retryable_by_client=False,
        )
    message = said.message or f"The provider {name} answered with status {status} and no explanation."
    code, param = said.code or None, said.param or None
    if status in (408, 504):
        return UpstreamTimeout(message, upstream_status=status, code=code, retry_after_s=retry_after_s)
    if status == 429:
        return UpstreamRateLimited(message, upstream_status=status, code=code, retry_after_s=retry_after_s)
    if status == 529 or said.type == "overloaded_error":
        return UpstreamFailed(
            message, status=503, type="overloaded_error", upstream_status=status, code=code, retry_after_s=retry_after_s
        )
    if status >= 500:
        return UpstreamFailed(message, status=status, upstream_status=status, code=code, retry_after_s=retry_after_s)
    return _refusal(status, said, text, message, code, param)


def _refusal(status: int, said: Said, text: str, message: str, code: str | None, param: str | None) -> UpstreamError:
    if status in (400, 413, 422):
        if (
            said.code in CONTEXT_WINDOW_CODES
            or any(words in text for words in CONTEXT_WINDOW_TEXTS)
            or _CURRENT_LENGTH.search(text)
        ):
            return ContextWindowExceeded(message, upstream_status=status, param=param)
        if said.code in CONTENT_POLICY_CODES or any(words in text for words in CONTENT_POLICY_TEXTS):
            return ContentPolicyViolation(message, upstream_status=status, code=code, param=param)
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
    return any(words in text for words in ACCOUNT_TEXTS) or "api key not valid" in text


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


def retry_after_s(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`; None where absent or a date (nothing here reads a clock)."""
    seconds: float | None = None
    for name, value in headers:
        lower = name.lower()
        if lower not in (b"retry-after", b"retry-after-ms"):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        if not 0 <= number < 1e9:
            continue
        if lower == b"retry-after-ms":
            return number / 1000
        seconds = number
    return seconds
