from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest

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
from tollway.failures import Said, clean, failure, read_error_body, retry_after_s, said_in, stream_failure


def _openai(message: str, **rest: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **rest}}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_openai("Bad parameter foo"), "Bad parameter foo"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded"),
        (b'[{"error":{"code":400,"message":"API says no","status":"INVALID_ARGUMENT"}}]', "API says no"),
        (b'{"detail":"Not here"}', "Not here"),
        (b'{"detail":[{"loc":["body"],"msg":"Field required"}]}', "Field required"),
        (b'{"message":"plain"}', "plain"),
        (b'{"error":"just words"}', "just words"),
        (_openai('Provider said: {"error": {"message": "the inner words"}}'), "the inner words"),
        (_openai('{"error": {"message": "{\\"error\\": {\\"message\\": \\"deepest\\"}}"}}'), "deepest"),
        (
            b"<html><head><title>t</title></head><body><h1>502 Bad</h1>\n <p>Gateway</p></body></html>",
            "502 Bad Gateway",
        ),
        (b"upstream connect error", "upstream connect error"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_providers_own_words_are_found_in_whatever_it_sends(body: bytes, message: str) -> None:
    assert read_error_body(body).message == message


def test_a_long_plain_text_is_cut() -> None:
    assert len(read_error_body(b"x" * 5000).message) == 300


def test_code_param_and_type_are_kept_where_openai_puts_them() -> None:
    said = read_error_body(_openai("m", type="invalid_request_error", param="tools[0].name", code="bad_name"))
    assert said == Said("m", "invalid_request_error", "bad_name", "tools[0].name")


def test_the_word_none_is_nothing() -> None:
    assert said_in({"message": "m", "param": "None", "code": "null"}) == Said("m")


@pytest.mark.parametrize(
    "secret",
    [
        "sk-abcdefgh12345678",
        "sk-proj-abc_def-123456",
        "Bearer eyJhbGciOi.abc.def",
        "AIzaSyA1234567890abcdef",
        "gsk_abcdefghijkl",
    ],
)
def test_nothing_that_looks_like_a_secret_leaves(secret: str) -> None:
    assert secret not in clean(f"Incorrect API key provided: {secret}. Find yours in the console.")


@pytest.mark.parametrize(
    ("status", "said", "kind", "public"),
    [
        (400, Said("no"), UpstreamRefused, 400),
        (422, Said("no"), UpstreamRefused, 422),
        (404, Said("no such model"), UpstreamRefused, 404),
        (413, Said("too large"), UpstreamRefused, 413),
        (400, Said("x", code="context_length_exceeded"), ContextWindowExceeded, 400),
        (400, Said("This model's Maximum Context Length is 8192 tokens"), ContextWindowExceeded, 400),
        (400, Said("prompt is too long: 210000 tokens > 200000 maximum"), ContextWindowExceeded, 400),
        (400, Said("current length is 9000 while limit is 8192"), ContextWindowExceeded, 400),
        (400, Said("x", code="content_policy_violation"), ContentPolicyViolation, 400),
        (400, Said("Your request was rejected as a result of the safety system."), ContentPolicyViolation, 400),
        (401, Said("Incorrect API key provided: sk-abcdefgh1234"), UpstreamAccountError, 503),
        (402, Said("pay"), UpstreamAccountError, 503),
        (403, Said("no"), UpstreamAccountError, 503),
        (400, Said("Your credit balance is too low to access the API."), UpstreamAccountError, 503),
        (400, Said("API key not valid. Please pass a valid API key."), UpstreamAccountError, 503),
        (429, Said("quota", code="insufficient_quota"), UpstreamAccountError, 503),
        (429, Said("slow down"), UpstreamRateLimited, 429),
        (408, Said("x"), UpstreamTimeout, 408),
        (504, Said("x"), UpstreamTimeout, 408),
        (500, Said("x"), UpstreamFailed, 500),
        (502, Said("x"), UpstreamFailed, 502),
        (503, Said("x"), UpstreamFailed, 503),
        (529, Said("Overloaded", "overloaded_error"), UpstreamFailed, 503),
    ],
)
def test_a_status_and_its_words_say_what_failed(
    status: int, said: Said, kind: type[UpstreamError], public: int
) -> None:
    error = failure(status, said, provider="openai")
    assert type(error) is kind
    assert error.status == public
    assert error.upstream_status == status


def test_trouble_with_our_account_is_told_without_the_providers_words() -> None:
    error = failure(401, Said("Incorrect API key provided: sk-ab***yz", code="invalid_api_key"), provider="openai")
    assert error.message == (
        "The provider openai refused this gateway's account (401). An administrator must check its key or billing."
    )
    assert (error.type, error.retryable_by_client, error.code) == ("upstream_error", False, None)


def test_no_account_trouble_uses_words_that_make_agents_throw_their_key_away() -> None:
    for said in (Said("You exceeded your current quota", code="insufficient_quota"), Said("credit balance is too low")):
        message = failure(429, said, provider="x").message.lower() if said.code else failure(400, said).message.lower()
        assert not any(words in message for words in ("out of budget", "insufficient_quota", "credit balance", "quota"))


def test_an_overloaded_provider_keeps_its_type() -> None:
    assert failure(529, Said("Overloaded", "overloaded_error")).type == "overloaded_error"


def test_a_provider_without_words_still_gives_a_sentence() -> None:
    assert (
        failure(500, Said(), provider="acme").message
        == "The provider acme answered with status 500 and no explanation."
    )


def test_the_code_of_an_exceeded_context_window_is_always_openais() -> None:
    assert (
        failure(400, Said("prompt is too long: 2 tokens > 1 maximum", "invalid_request_error")).code
        == "context_length_exceeded"
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (Said("x", "overloaded_error"), 503),
        (Said("x", "rate_limit_error"), 429),
        (Said("x", "", "429"), 429),
        (Said("x", "server_error"), 500),
        (Said("x", "invalid_request_error"), 400),
        (Said("x", "", "insufficient_quota"), 503),
        (Said("x"), 500),
        (Said("x", "", "17"), 500),
    ],
)
def test_an_error_inside_a_stream_tells_its_status_by_a_word(said: Said, status: int) -> None:
    assert stream_failure(said).status == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"Retry-After", b"1.5")], 1.5),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"3")], 3.0),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")], None),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"), (b"date", b"Wed, 21 Oct 2026 07:27:15 GMT")], 45.0),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"), (b"Date", b"Wed, 21 Oct 2026 09:00:00 GMT")], 0.0),
        ([(b"retry-after", b"soon"), (b"date", b"Wed, 21 Oct 2026 09:00:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([], None),
    ],
)
def test_how_long_to_wait_is_read_from_either_header(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


# --- what providers really say ---------------------------------------------------------------------------------------

CONTEXT, POLICY, PACE, ACCOUNT, REFUSED = (
    ContextWindowExceeded,
    ContentPolicyViolation,
    UpstreamRateLimited,
    UpstreamAccountError,
    UpstreamRefused,
)


def said(message: str, **rest: object) -> dict[str, Any]:
    return {"error": {"message": message, **rest}}


#: (provider, dialect, status, body, what it means, where it was seen). Seen on 2026-11-22.
SEEN: list[tuple[str, str, int, Any, type[UpstreamError], str]] = [
    ("openai", "openai_chat", 400, said(
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens. Please reduce the "
        "length of the messages.", type="invalid_request_error", param="messages", code="context_length_exceeded"),
     CONTEXT, "https://github.com/crewAIInc/crewAI-examples/issues/121"),
    ("openai", "openai_responses", 400, said(
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        type="invalid_request_error", param="input", code="context_length_exceeded"),
     CONTEXT, "https://platform.openai.com/docs/guides/error-codes"),
    ("openai", "openai_chat", 400, said(
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        type="invalid_request_error", param=None, code="invalid_prompt"),
     POLICY, "https://platform.openai.com/docs/guides/reasoning"),
    ("openai", "openai_chat", 429, said(
        "Request too large for gpt-4o in organization org-Bnfdy1zwXXXXX on tokens per min (TPM): Limit 30000, Requested 35064. "
        "The input or output tokens must be reduced in order to run successfully.",
        type="tokens", param=None, code="rate_limit_exceeded"), PACE, "https://github.com/enricoros/big-AGI/issues/636"),
    ("openai", "openai_chat", 429, said(
        "You exceeded your current quota, please check your plan and billing details.", type="insufficient_quota",
        param=None, code="insufficient_quota"), ACCOUNT, "https://platform.openai.com/docs/guides/error-codes"),
    ("azure", "openai_chat", 400, said(
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your "
        "prompt and retry.", type=None, param="prompt", code="content_filter", status=400,
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": True}}}),
     POLICY, "https://github.com/microsoft/TinyTroupe/issues/85"),
    ("azure", "openai_chat", 400, said(
        "The request was stopped.", code=None, inner_error={"code": "ResponsibleAIPolicyViolation"}),
     POLICY, "https://github.com/browser-use/browser-use/issues/262"),
    ("anthropic", "anthropic_messages", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "prompt is too long: 209353 tokens > 199999 maximum"}},
     CONTEXT, "https://github.com/entropy-research/Devon/issues/88"),
    ("anthropic", "anthropic_messages", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, "
        "decrease input length or `max_tokens` and try again"}},
     CONTEXT, "https://github.com/continuedev/continue/issues/6080"),
    ("anthropic", "anthropic_messages", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "Output blocked by content filtering policy"}},
     POLICY, "https://docs.claude.com/en/api/errors"),
    ("anthropic", "anthropic_messages", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}},
     ACCOUNT, "https://docs.claude.com/en/api/errors"),
    ("vertex_ai", "anthropic_messages", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "Unexpected value(s) `web-search-2025-03-05` for the `anthropic-beta` header. "
        "Please consult our documentation at docs.anthropic.com or try again without the header."},
        "request_id": "req_vrtx_1"}, REFUSED, "https://github.com/anthropics/claude-code/issues/12429"),
    ("gemini", "gemini", 400, {"error": {
        "code": 400, "message": "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
        "errors": [{"message": "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
                    "domain": "global", "reason": "badRequest"}], "status": "INVALID_ARGUMENT"}},
     CONTEXT, "https://github.com/google-gemini/gemini-cli/issues/6678"),
    ("gemini", "gemini", 400, [{"error": {"code": 400, "message": "API key expired. Please renew the API key.",
                                          "status": "INVALID_ARGUMENT"}}],
     ACCOUNT, "https://ai.google.dev/gemini-api/docs/troubleshooting"),
    ("bedrock", "bedrock_converse", 400, {"message": "Input is too long for requested model."},
     CONTEXT, "https://github.com/aws-samples/bedrock-chat/issues/95"),
    ("bedrock", "bedrock_converse", 400, {
        "message": "The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum"},
     CONTEXT, "https://github.com/aaif-goose/goose/pull/7504"),
    ("bedrock", "bedrock_converse", 400, {
        "message": "Malformed input request: expected maxLength: 42000, actual: 50210, please reformat your input and try again."},
     CONTEXT, "https://repost.aws/knowledge-center/bedrock-validation-exception-errors"),
    ("bedrock", "bedrock_converse", 429, {"message": "Too many tokens, please wait before trying again."},
     PACE, "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"),
    ("cohere", "cohere_chat", 400, {
        "message": "too many tokens: total number of tokens (prompt and prediction) cannot exceed 2048 - received 6354. Try using "
        "a shorter prompt or a smaller max_tokens value."},
     CONTEXT, "https://github.com/cohere-ai/sandbox-topically/issues/4"),
    ("cohere", "cohere_chat", 498, {"id": "1", "message": "blocked"}, POLICY, "https://docs.cohere.com/reference/errors"),
    ("ollama", "ollama_chat", 400, {"error": "the input length exceeds the context length"},
     CONTEXT, "https://docs.ollama.com/api/errors"),
    ("ollama", "ollama_chat", 500, {"error": "prompt too long; exceeded max context length by 3 tokens"},
     CONTEXT, "https://docs.ollama.com/api/errors"),
    ("llama.cpp", "openai_chat", 400, {"error": {
        "code": 400, "message": "the request exceeds the available context size. try increasing the context size or enable "
        "context shift", "type": "exceed_context_size_error", "n_prompt_tokens": 14429, "n_ctx": 8192}},
     CONTEXT, "https://github.com/oobabooga/textgen/issues/7257"),
    ("llama.cpp", "openai_chat", 500, {"error": {
        "code": 500, "message": "too much", "type": "exceed_context_size_error", "n_prompt_tokens": 1407, "n_ctx": 256}},
     CONTEXT, "https://github.com/ggml-org/llama.cpp/pull/15780"),
    ("vllm", "openai_chat", 400, {
        "object": "error", "message": "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make "
        "sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
        "type": "BadRequestError", "param": None, "code": 400}, CONTEXT, "https://github.com/Gabesarch/grounded-rl/issues/16"),
    ("vllm", "openai_chat", 400, said(
        "The prompt (total length 25938) is too long to fit into the model (context length 4096).", type="BadRequestError",
        code=400), CONTEXT, "https://github.com/vllm-project/vllm/issues/12165"),
    ("vllm", "openai_chat", 400, said(
        "This model's maximum context length is 262144 tokens. However, you requested 128000 output tokens and your prompt "
        "contains at least 134145 input tokens, for a total of at least 262145 tokens.", type="BadRequestError", code=400),
     CONTEXT, "https://github.com/AIDotNet/OpenCowork/issues/82"),
    ("mistral", "openai_chat", 400, {
        "object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
        "context length", "type": "invalid_request_prompt", "code": "3051"}, CONTEXT, "https://docs.mistral.ai/api/"),
    ("mistral", "openai_chat", 401, {"detail": "Unauthorized"}, ACCOUNT, "https://docs.mistral.ai/api/"),
    ("groq", "openai_chat", 400, said(
        "Please reduce the length of the messages or completion.", type="invalid_request_error", param="messages",
        code="context_length_exceeded"), CONTEXT, "https://github.com/OpenHands/OpenHands/issues/1902"),
    ("groq", "openai_chat", 413, said(
        "Request too large for model `llama-3.3-70b-versatile` in organization `org_01` service tier `on_demand` on tokens per "
        "minute (TPM): Limit 12000, Requested 14137, please reduce your message size and try again.", type="tokens",
        code="rate_limit_exceeded"), PACE, "https://github.com/continuedev/continue/issues/10218"),
    ("together_ai", "openai_chat", 422, said(
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2019 `inputs` tokens and 30 "
        "`max_new_tokens`", type="invalid_request_error", param="max_tokens", code=None),
     CONTEXT, "https://github.com/stanford-crfm/helm/pull/2079"),
    ("fireworks_ai", "openai_chat", 400, {"error": {
        "object": "error", "type": "invalid_request_error", "code": "invalid_request_error",
        "message": "The prompt is too long: 40177, model maximum context length: 32767"}},
     CONTEXT, "https://github.com/fw-ai/cookbook/issues/134"),
    ("openrouter", "openai_chat", 400, said(
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 141607 tokens (10535 of text "
        "input, 131072 in the output).", code=400, metadata={"provider_name": "Chutes"}),
     CONTEXT, "https://github.com/Aider-AI/aider/issues/3721"),
    ("openrouter", "openai_chat", 400, said(
        "Provider returned error", code=400, metadata={
            "raw": json.dumps(said("This model's maximum context length is 8192 tokens. However, you requested 8246 tokens.",
                                   type="invalid_request_error", code=400)), "provider_name": "Together"}),
     CONTEXT, "https://github.com/truefoundry/models/pull/873"),
    ("openrouter", "openai_chat", 403, said(
        "openai/gpt-4o requires moderation on OpenAI. Your input was flagged for \"violence\".", code=403,
        metadata={"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"}),
     POLICY, "https://openrouter.ai/docs/api-reference/errors"),
    ("openrouter", "openai_chat", 402, said("Insufficient credits", code=402),
     ACCOUNT, "https://openrouter.ai/docs/api-reference/errors"),
    ("deepseek", "openai_chat", 400, said(
        "This model's maximum context length is 65536 tokens. However, you requested 66343 tokens (62247 in the messages, 4096 in "
        "the completion).", type="invalid_request_error", param=None, code="invalid_request_error"),
     CONTEXT, "https://github.com/FoundationAgents/OpenManus/issues/79"),
    ("deepseek", "openai_chat", 400, said(
        "Content Exists Risk", type="invalid_request_error", param=None, code="invalid_request_error"),
     POLICY, "https://api-docs.deepseek.com/quick_start/error_codes"),
    ("deepseek", "openai_chat", 402, said("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
     ACCOUNT, "https://api-docs.deepseek.com/quick_start/error_codes"),
    ("xai", "openai_chat", 400, {
        "code": "Client specified an invalid argument",
        "error": "This model's maximum prompt length is 131072 but the request contains 136973 tokens."},
     CONTEXT, "https://github.com/cline/cline/issues/3120"),
    ("xai", "openai_chat", 400, {
        "code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***zz."},
     ACCOUNT, "https://docs.x.ai/docs/key-information/debugging"),
    ("xai", "openai_chat", 403, {
        "code": "The caller does not have permission to execute the specified operation",
        "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM"},
     POLICY, "https://docs.x.ai/docs/key-information/debugging"),
    ("dashscope", "openai_chat", 400, said(
        "Range of input length should be [1, 30720]", type="invalid_request_error", code="invalid_parameter_error"),
     CONTEXT, "https://help.aliyun.com/zh/model-studio/error-code"),
    ("dashscope", "openai_chat", 400, said(
        "Output data may contain inappropriate content.", type="data_inspection_failed", code="data_inspection_failed"),
     POLICY, "https://help.aliyun.com/zh/model-studio/error-code"),
    ("moonshot", "openai_chat", 400, said(
        "Invalid request: Your request exceeded model token limit: 131072", type="invalid_request_error"),
     CONTEXT, "https://platform.moonshot.ai/docs/api/chat"),
    ("moonshot", "openai_chat", 400, said(
        "The request was rejected because it was considered high risk", type="content_filter"),
     POLICY, "https://platform.moonshot.ai/docs/api/chat"),
    ("cerebras", "openai_chat", 400, {
        "message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"},
     CONTEXT, "https://inference-docs.cerebras.ai/support/error"),
    ("huggingface", "openai_chat", 422, {
        "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", "error_type": "validation"},
     CONTEXT, "https://github.com/huggingface/llm-vscode/issues/94"),
]  # fmt: skip


def body_code(body: Any) -> Any:
    """The provider's own code, Azure's inner one where there is no other."""
    inner = body.get("error", body)
    if not isinstance(inner, dict):
        return None
    return inner.get("code") or (inner.get("inner_error") or {}).get("code")


@pytest.mark.parametrize(
    ("provider", "dialect", "status", "body", "kind", "source"),
    SEEN,
    ids=[f"{row[0]}-{row[2]}-{row[4].__name__}" for row in SEEN],
)
def test_what_providers_really_say_is_understood(
    provider: str, dialect: str, status: int, body: Any, kind: type[UpstreamError], source: str
) -> None:
    assert source.startswith("https://")
    error = import_module(f"tollway.dialects.{dialect}").decode_error(status, [], json.dumps(body).encode(), provider)
    assert type(error) is kind
    assert error.upstream_status == status or kind is PACE
    if kind is CONTEXT:
        assert (error.status, error.code, error.retryable) == (
            400 if status < 500 else error.status,
            "context_length_exceeded",
            False,
        )
    if kind is POLICY:
        assert error.code in ("content_policy_violation", body_code(body))
    if kind is ACCOUNT:
        assert (error.status, error.type, error.retryable_by_client) == (503, "upstream_error", False)
        assert error.message == (
            f"The provider {provider} refused this gateway's account ({status}). An administrator must check its key or billing."
        )


@pytest.mark.parametrize(
    "dialect", ["openai_chat", "openai_responses", "anthropic_messages", "gemini", "cohere_chat", "ollama_chat"]
)
def test_every_table_row_has_a_dialect_that_reads_it(dialect: str) -> None:
    assert any(row[1] == dialect for row in SEEN)


@pytest.mark.parametrize(
    "message",
    [
        "You must reduce max_tokens.",
        "Invalid 'messages[3].content': string is empty.",
        "The context of this request is missing.",
        "Unsupported content type.",
        "Unknown policy 'content'.",
    ],
)
def test_an_ordinary_refusal_is_none_of_them(message: str) -> None:
    assert type(failure(400, Said(message, "invalid_request_error"))) is UpstreamRefused


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Rate limit reached. Please try again in 7.66s. Visit our page", 7.66),
        ("Please try again in 1m12.5s.", 72.5),
        ("please try again in 6ms.", 0.006),
        ("Please retry after 20 seconds.", 20.0),
        ("Please try again in 20s.", 20.0),
        ("try again in 2h", None),
        ("Please try again later.", None),
        ("Please try again in 9000s.", None),
    ],
)
def test_a_pause_that_is_told_in_words_alone_reaches_the_caller(text: str, seconds: float | None) -> None:
    assert failure(429, Said(text)).retry_after_s == seconds
    assert failure(429, Said(text), retry_after_s=3.0).retry_after_s == 3.0


def test_a_web_page_is_called_one_and_an_empty_answer_too() -> None:
    page = failure(502, read_error_body(b"\n<!doctype html><h1>Bad Gateway</h1>nginx"), provider="acme")
    assert page.message == (
        "The provider acme answered with a web page instead of an API's answer (status 502). It says: Bad Gateway nginx"
    )
    assert failure(404, read_error_body(b"<html></html>"), provider="acme").message == (
        "The provider acme answered with a web page instead of an API's answer (status 404)."
    )
    assert failure(404, read_error_body(b""), provider="acme").message == (
        "The provider acme answered with status 404 and no explanation."
    )
