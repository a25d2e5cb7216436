"""What survives between each API of a client and each API of a provider: asked of the real gateway, cell by cell.

A feature is one way to say one thing, in each client's words, with a *mark* in it that is found again in what the provider got
(or, for replies, in what the client got). What is found, and was not named as dropped, is *lossless*, or *adapted* where it is
said in another way (`ADAPTED` says how, and what proves it). What is named in `x-tollway-dropped` is *dropped*; what is answered
with 400 is *refused*. What is neither found nor named is a silent loss, and there is no word for it here: `verdicts` raises.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from tollway.config.settings import ModelEntry
from tollway.testing import FakeReply
from tollway.testing.gateway import SmallGateway, model_entry

CLIENTS = {
    "openai_chat": ("Chat Completions", "/v1/chat/completions"),
    "anthropic_messages": ("Anthropic Messages", "/v1/messages"),
    "openai_responses": ("Responses", "/v1/responses"),
    "gemini": ("Gemini generateContent", "/v1beta/models/{model}:generateContent"),
}
PROVIDERS = {
    "openai_chat": "Chat Completions",
    "openai_responses": "Responses",
    "anthropic_messages": "Anthropic",
    "gemini": "Gemini",
    "bedrock_converse": "Bedrock Converse",
    "cohere_chat": "Cohere",
    "ollama_chat": "Ollama",
    "openai_completions": "Text completions",
    "replicate": "Replicate",
}
#: The deployment that stands for each API: a model that can do what the API can say.
MODELS: dict[str, dict[str, Any]] = {
    "openai_chat": {"provider_model": "openai/gpt-5.1", "api_base": "http://openai_chat.example/v1"},
    "openai_responses": {
        "provider_model": "openai/gpt-5.1",
        "api_base": "http://openai_responses.example/v1",
        "mode": "responses",
        "about": {"supported_endpoints": ["/v1/responses"]},
    },
    "anthropic_messages": {
        "provider_model": "anthropic/claude-opus-4-6",
        "api_base": "http://anthropic_messages.example",
    },
    "gemini": {"provider_model": "gemini/gemini-3-pro-preview", "api_base": "http://gemini.example"},
    "bedrock_converse": {
        "provider_model": "bedrock/converse/anthropic.claude-opus-4-6-v1",
        "api_base": "http://bedrock_converse.example",
        "provider_params": {"aws_region_name": "us-east-1"},
    },
    "cohere_chat": {
        "provider_model": "cohere_chat/command-a-reasoning-08-2025",
        "api_base": "http://cohere_chat.example",
    },
    "ollama_chat": {"provider_model": "ollama_chat/qwen3", "api_base": "http://ollama_chat.example"},
    "openai_completions": {
        "provider_model": "text-completion-openai/gpt-3.5-turbo-instruct",
        "api_base": "http://openai_completions.example/v1",
    },
    "replicate": {"provider_model": "replicate/openai/gpt-4.1", "api_base": "http://replicate.example"},
}


class Feature(Struct, frozen=True):
    """`asks`: the fields that say it, by client; a client that is not there has no words for it. `mark`: what is looked for.

    `names`: other ways in which the same is said, that count as lossless.
    """

    title: str
    mark: str
    asks: dict[str, dict[str, Any]]
    names: tuple[str, ...] = ()


# --- what is asked ---------------------------------------------------------------------------------------------------

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKMSAwIG9iago8PD4+CmVuZG9iago="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA"
LINK = "https://files.example/probe.png"
SCHEMA = {"type": "object", "properties": {"probe_property": {"type": "string"}}, "required": ["probe_property"]}
C, M, R, G = CLIENTS


def said(**by: Any) -> dict[str, dict[str, Any]]:
    """Fields by client, named by the first letters of their dialects: c, m, r, g."""
    names = dict(zip("cmrg", CLIENTS, strict=True))
    return {names[letter]: fields for letter, fields in by.items()}


def user(c: Any = None, m: Any = None, r: Any = None, g: Any = None) -> dict[str, dict[str, Any]]:
    """One user's turn with these parts beside a text."""
    asks: dict[str, dict[str, Any]] = {}
    if c:
        asks[C] = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, c]}]}
    if m:
        asks[M] = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, m]}]}
    if r:
        asks[R] = {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Look."}, r]}]}
    if g:
        asks[G] = {"contents": [{"role": "user", "parts": [{"text": "Look."}, g]}]}
    return asks


TOOLS = said(
    c={"tools": [{"type": "function", "function": {"name": "probe_tool", "description": "d", "parameters": SCHEMA}}]},
    m={"tools": [{"name": "probe_tool", "description": "d", "input_schema": SCHEMA}]},
    r={
        "tools": [{"type": "function", "name": "probe_tool", "description": "d", "parameters": SCHEMA, "strict": False}]
    },
    g={
        "tools": [
            {"functionDeclarations": [{"name": "probe_tool", "description": "d", "parametersJsonSchema": SCHEMA}]}
        ]
    },
)


def with_tools(**by: Any) -> dict[str, dict[str, Any]]:
    return {name: {**TOOLS[name], **fields} for name, fields in said(**by).items()}


def history(c: Any, m: Any, r: Any, g: Any) -> dict[str, dict[str, Any]]:
    return with_tools(c={"messages": c}, m={"messages": m}, r={"input": r}, g={"contents": g})


CALLED = {
    C: {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "probe_tool", "arguments": '{"probe_property":"x"}'}}]},
    M: {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "probe_tool",
                                          "input": {"probe_property": "x"}}]},
    R: {"type": "function_call", "call_id": "call_1", "name": "probe_tool", "arguments": '{"probe_property":"x"}'},
    G: {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "probe_tool", "args": {"probe_property": "x"}}}]},
}  # fmt: skip
ASKED = {
    C: {"role": "user", "content": "Go."},
    M: {"role": "user", "content": "Go."},
    R: {"role": "user", "content": "Go."},
    G: {"role": "user", "parts": [{"text": "Go."}]},
}
THOUGHT = "probe-thought"

FEATURES = (
    Feature("Text", "probe-text", said(
        c={"messages": [{"role": "user", "content": "probe-text"}]},
        m={"messages": [{"role": "user", "content": "probe-text"}]},
        r={"input": "probe-text"},
        g={"contents": [{"role": "user", "parts": [{"text": "probe-text"}]}]})),
    Feature("System prompt", "probe-system", said(
        c={"messages": [{"role": "system", "content": "probe-system"}, ASKED[C]]},
        m={"system": "probe-system"}, r={"instructions": "probe-system"},
        g={"systemInstruction": {"parts": [{"text": "probe-system"}]}})),
    Feature("Streaming", '"stream":true', said(c={"stream": True}, m={"stream": True}, r={"stream": True}, g={})),
    Feature("Tools", "probe_property", TOOLS),
    Feature("Tool call and its result", "probe-result", history(
        c=[ASKED[C], CALLED[C], {"role": "tool", "tool_call_id": "call_1", "content": "probe-result"}],
        m=[ASKED[M], CALLED[M], {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "probe-result"}]}],
        r=[ASKED[R], CALLED[R], {"type": "function_call_output", "call_id": "call_1", "output": "probe-result"}],
        g=[ASKED[G], CALLED[G], {"role": "user", "parts": [
            {"functionResponse": {"id": "call_1", "name": "probe_tool", "response": {"output": "probe-result"}}}]}])),
    Feature("Picture in a tool's result", PNG, with_tools(
        m={"messages": [ASKED[M], CALLED[M], {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]}]}]},
        r={"input": [ASKED[R], CALLED[R], {"type": "function_call_output", "call_id": "call_1", "output": [
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]}]})),
    Feature("Tool that failed", '"is_error":true', with_tools(
        m={"messages": [ASKED[M], CALLED[M], {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "no", "is_error": True}]}]}),
        names=('"status":"error"', '"error":"no"')),
    Feature("One tool call at a time", '"parallel_tool_calls":false', with_tools(
        c={"parallel_tool_calls": False}, r={"parallel_tool_calls": False},
        m={"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        names=('"disable_parallel_tool_use":true',)),
    Feature("A tool that must be called", '"tool_choice":{', with_tools(
        c={"tool_choice": {"type": "function", "function": {"name": "probe_tool"}}},
        m={"tool_choice": {"type": "tool", "name": "probe_tool"}},
        r={"tool_choice": {"type": "function", "name": "probe_tool"}},
        g={"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["probe_tool"]}}}),
        names=('"allowedFunctionNames":["probe_tool"]', '"toolChoice":{"tool":{"name":"probe_tool"}}')),
    Feature("Strict tools", '"strict":true', said(
        c={"tools": [{"type": "function", "function": {"name": "probe_tool", "parameters": SCHEMA, "strict": True}}]},
        m={"tools": [{"name": "probe_tool", "input_schema": SCHEMA, "strict": True}]},
        r={"tools": [{"type": "function", "name": "probe_tool", "parameters": SCHEMA, "strict": True}]}),
        names=('"strict_tools":true',)),
    Feature("Search of the web", "search", said(
        c={"web_search_options": {}}, m={"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        r={"tools": [{"type": "web_search"}]}, g={"tools": [{"googleSearch": {}}]}), names=("googleSearch",)),
    Feature("Picture", PNG, user(
        c={"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        m={"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        r={"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        g={"inlineData": {"mimeType": "image/png", "data": PNG}})),
    Feature("Picture by URL", LINK, user(
        c={"type": "image_url", "image_url": {"url": LINK}},
        m={"type": "image", "source": {"type": "url", "url": LINK}},
        r={"type": "input_image", "image_url": LINK}, g={"fileData": {"mimeType": "image/png", "fileUri": LINK}})),
    Feature("PDF", PDF, user(
        c={"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        m={"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        r={"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        g={"inlineData": {"mimeType": "application/pdf", "data": PDF}})),
    Feature("PDF by URL", "https://files.example/a.pdf", user(
        c={"type": "file", "file": {"file_id": "https://files.example/a.pdf"}},
        m={"type": "document", "source": {"type": "url", "url": "https://files.example/a.pdf"}},
        r={"type": "input_file", "file_url": "https://files.example/a.pdf"},
        g={"fileData": {"mimeType": "application/pdf", "fileUri": "https://files.example/a.pdf"}})),
    Feature("Sound", WAV, user(
        c={"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        g={"inlineData": {"mimeType": "audio/wav", "data": WAV}})),
    Feature("Document to be cited", "probe-document", user(
        m={"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "probe-document"},
           "title": "T", "citations": {"enabled": True}})),
    Feature("Reply in a JSON schema", "probe_property", said(
        c={"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}},
        m={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        r={"text": {"format": {"type": "json_schema", "name": "r", "schema": SCHEMA}}},
        g={"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}})),
    Feature("Reply in JSON", "json", said(
        c={"response_format": {"type": "json_object"}}, r={"text": {"format": {"type": "json_object"}}},
        g={"generationConfig": {"responseMimeType": "application/json"}})),
    Feature("How much to think", "high", said(
        c={"reasoning_effort": "high"}, m={"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        r={"reasoning": {"effort": "high"}}, g={"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}),
        names=("HIGH",)),
    Feature("Thought given back", THOUGHT, said(
        c={"messages": [ASKED[C], {"role": "assistant", "content": "Well.", "reasoning_content": THOUGHT}, ASKED[C]]},
        g={"contents": [ASKED[G], {"role": "model", "parts": [{"text": THOUGHT, "thought": True}, {"text": "Well."}]},
                        ASKED[G]]})),
    Feature("Thought signed by Anthropic", "cHJvYmU=", said(
        c={"messages": [ASKED[C], {"role": "assistant", "content": "Well.", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "cHJvYmU="}]}, ASKED[C]]},
        m={"messages": [ASKED[M], {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "cHJvYmU="}, {"type": "text", "text": "Well."}]}, ASKED[M]]})),
    Feature("Marks for the provider's cache", '"cache_control"', said(
        c={"messages": [{"role": "user", "content": [
            {"type": "text", "text": "Go.", "cache_control": {"type": "ephemeral"}}]}]},
        m={"messages": [{"role": "user", "content": [
            {"type": "text", "text": "Go.", "cache_control": {"type": "ephemeral"}}]}]}),
        names=("cachePoint",)),
    Feature("Output limit", "4321", said(
        c={"max_completion_tokens": 4321}, m={"max_tokens": 4321}, r={"max_output_tokens": 4321},
        g={"generationConfig": {"maxOutputTokens": 4321}})),
    Feature("Temperature", "0.375", said(
        c={"temperature": 0.375}, m={"temperature": 0.375}, r={"temperature": 0.375},
        g={"generationConfig": {"temperature": 0.375}})),
    Feature("top_p", "0.625", said(
        c={"top_p": 0.625}, m={"top_p": 0.625}, r={"top_p": 0.625}, g={"generationConfig": {"topP": 0.625}})),
    Feature("top_k", "37", said(c={"top_k": 37}, m={"top_k": 37}, g={"generationConfig": {"topK": 37}})),
    Feature("Penalties", "0.875", said(
        c={"presence_penalty": 0.875}, g={"generationConfig": {"presencePenalty": 0.875}})),
    Feature("logit_bias", '"987"', said(c={"logit_bias": {"987": 1}})),
    Feature("Log probabilities", "logprobs", said(
        c={"logprobs": True, "top_logprobs": 3}, r={"top_logprobs": 3},
        g={"generationConfig": {"responseLogprobs": True, "logprobs": 3}}), names=("responseLogprobs",)),
    Feature("Stop sequences", "PROBE-STOP", said(
        c={"stop": ["PROBE-STOP"]}, m={"stop_sequences": ["PROBE-STOP"]},
        g={"generationConfig": {"stopSequences": ["PROBE-STOP"]}})),
    Feature("Seed", "424242", said(c={"seed": 424242}, g={"generationConfig": {"seed": 424242}})),
    Feature("Several choices", '"n":2', said(c={"n": 2}, g={"generationConfig": {"candidateCount": 2}}),
            names=('"candidateCount":2',)),
    Feature("Service tier", "priority", said(c={"service_tier": "priority"}, r={"service_tier": "priority"},
                                             g={"serviceTier": "priority"})),
    Feature("The end user's name", "probe-user", said(
        c={"user": "probe-user"}, m={"metadata": {"user_id": "probe-user"}}, r={"user": "probe-user"})),
)  # fmt: skip

#: What a dialect says in another way: (feature, provider) -> what proves it, and how it is said.
ADAPTED: dict[tuple[str, str], tuple[str, str]] = {
    ("System prompt", "openai_completions"): ("System: probe-system", "as the beginning of a transcript"),
    ("Tool call and its result", "openai_completions"): ("probe-result", "as a transcript"),
    ("Streaming", "gemini"): (":streamGenerateContent", "in the path"),
    ("System prompt", "replicate"): ("probe-system", "as the model has it, or as the prompt's beginning"),
    ("Tool call and its result", "replicate"): ("Tool: probe-result", "as a script"),
    ("Document to be cited", "replicate"): ("probe-document", "as text"),
    ("Streaming", "bedrock_converse"): ("/converse-stream", "in the path"),
    ("A tool that must be called", "cohere_chat"): (
        '"tool_choice":"REQUIRED"',
        "as the only tool, and one must be called",
    ),
    ("Picture in a tool's result", "openai_chat"): (PNG, "in a message of the user's behind the result"),
    ("Picture in a tool's result", "cohere_chat"): (PNG, "in a message of the user's behind the result"),
    ("Document to be cited", "openai_chat"): ("probe-document", "as text"),
    ("Document to be cited", "openai_responses"): ("probe-document", "as text"),
    ("Document to be cited", "gemini"): ("probe-document", "as text"),
    ("Document to be cited", "ollama_chat"): ("probe-document", "as text"),
    ("Document to be cited", "openai_completions"): ("probe-document", "as text"),
    ("Reply in JSON", "anthropic_messages"): ('"json_reply"', "by a tool that the model must call"),
    ("Reply in JSON", "bedrock_converse"): ('"json_reply"', "by a tool that the model must call"),
    ("Reply in a JSON schema", "bedrock_converse"): ("probe_property", "by a tool that the model must call"),
    ("How much to think", "cohere_chat"): ('"thinking":{"type":"enabled"', "as a budget of tokens"),
    ("How much to think", "ollama_chat"): ('"think":true', "on or off"),
    ("Thought given back", "cohere_chat"): (THOUGHT, "as a block of thought"),
}


# --- what is answered ------------------------------------------------------------------------------------------------


class Answer(Struct, frozen=True):
    """`title` and the mark that a client must find; `replies` are what providers say, by dialect. `clients` without a word for
    it are not there.
    """

    title: str
    marks: dict[str, str]
    replies: dict[str, dict[str, Any]]


def openai_says(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50, **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": counts,
    }


def responses_say(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50, **more.pop("usage", {})}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": list(output),
        "usage": usage,
        **more,
    }


def anthropic_says(*content: dict[str, Any], stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 30, "output_tokens": 20, **usage}
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(content),
            "stop_reason": stop, "usage": counts}  # fmt: skip


def gemini_says(*parts: dict[str, Any], finish: str = "STOP", **usage: Any) -> dict[str, Any]:
    counts = {"promptTokenCount": 30, "candidatesTokenCount": 20, "totalTokenCount": 50, **usage}
    content = {"role": "model", "parts": list(parts)}
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0}],
        "usageMetadata": counts,
        "responseId": "r1",
    }


def bedrock_says(*content: dict[str, Any], stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    counts = {"inputTokens": 30, "outputTokens": 20, "totalTokens": 50, **usage}
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop, "usage": counts}


def cohere_says(message: dict[str, Any], finish: str = "COMPLETE") -> dict[str, Any]:
    counts = {
        "tokens": {"input_tokens": 30, "output_tokens": 20},
        "billed_units": {"input_tokens": 30, "output_tokens": 20},
    }
    return {"id": "c1", "finish_reason": finish, "message": {"role": "assistant", **message}, "usage": counts}


def ollama_says(message: dict[str, Any]) -> dict[str, Any]:
    counts = {"prompt_eval_count": 30, "eval_count": 20}
    return {"model": "m", "created_at": "2026-11-22T00:00:00Z", "message": {"role": "assistant", "content": "", **message},
            "done": True, "done_reason": "stop", **counts}  # fmt: skip


def message_item(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "m1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": [], **more}]}  # fmt: skip


def everywhere(mark: str) -> dict[str, str]:
    return dict.fromkeys(CLIENTS, mark)


HELLO: dict[str, dict[str, Any]] = {
    "openai_chat": openai_says({"content": "probe-hello"}),
    "openai_responses": responses_say(message_item("probe-hello")),
    "anthropic_messages": anthropic_says({"type": "text", "text": "probe-hello"}),
    "gemini": gemini_says({"text": "probe-hello"}),
    "bedrock_converse": bedrock_says({"text": "probe-hello"}),
    "cohere_chat": cohere_says({"content": [{"type": "text", "text": "probe-hello"}]}),
    "ollama_chat": ollama_says({"content": "probe-hello"}),
    "openai_completions": {
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": "probe-hello", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    },
    "replicate": {"id": "p1", "status": "succeeded", "output": ["probe-", "hello"]},
}  # fmt: skip
ARGUMENTS = '{"probe_property":"x"}'
FUNCTION = {"name": "probe_tool", "arguments": ARGUMENTS}
ANSWERS = (
    Answer("Text", everywhere("probe-hello"), HELLO),
    Answer("Tool calls, two at once", everywhere("probe_second"), {
        "openai_chat": openai_says({"tool_calls": [
            {"id": "1", "type": "function", "function": FUNCTION},
            {"id": "2", "type": "function", "function": {**FUNCTION, "name": "probe_second"}}]}, "tool_calls"),
        "openai_responses": responses_say(
            {"id": "f1", "type": "function_call", "call_id": "1", **FUNCTION},
            {"id": "f2", "type": "function_call", "call_id": "2", **FUNCTION, "name": "probe_second"}),
        "anthropic_messages": anthropic_says(
            {"type": "tool_use", "id": "1", "name": "probe_tool", "input": {"probe_property": "x"}},
            {"type": "tool_use", "id": "2", "name": "probe_second", "input": {"probe_property": "x"}}, stop="tool_use"),
        "gemini": gemini_says({"functionCall": {"name": "probe_tool", "args": {"probe_property": "x"}}},
                              {"functionCall": {"name": "probe_second", "args": {"probe_property": "x"}}}),
        "bedrock_converse": bedrock_says(
            {"toolUse": {"toolUseId": "1", "name": "probe_tool", "input": {"probe_property": "x"}}},
            {"toolUse": {"toolUseId": "2", "name": "probe_second", "input": {"probe_property": "x"}}}, stop="tool_use"),
        "cohere_chat": cohere_says({"tool_calls": [
            {"id": "1", "type": "function", "function": FUNCTION},
            {"id": "2", "type": "function", "function": {**FUNCTION, "name": "probe_second"}}]}, "TOOL_CALL"),
        "ollama_chat": ollama_says({"tool_calls": [
            {"function": {"name": "probe_tool", "arguments": {"probe_property": "x"}}},
            {"function": {"name": "probe_second", "arguments": {"probe_property": "x"}}}]})}),
    Answer("Thought", everywhere(THOUGHT), {
        "openai_chat": openai_says({"content": "Well.", "reasoning_content": THOUGHT}),
        "openai_responses": responses_say(
            {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}]}, message_item("Well.")),
        "anthropic_messages": anthropic_says(
            {"type": "thinking", "thinking": THOUGHT, "signature": "cHJvYmU="}, {"type": "text", "text": "Well."}),
        "gemini": gemini_says({"text": THOUGHT, "thought": True}, {"text": "Well."}),
        "bedrock_converse": bedrock_says(
            {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": "cHJvYmU="}}}, {"text": "Well."}),
        "cohere_chat": cohere_says({"content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": "Well."}]}),
        "ollama_chat": ollama_says({"content": "Well.", "thinking": THOUGHT})}),
    Answer("Refusal", everywhere("probe-refusal"), {
        "openai_chat": openai_says({"refusal": "probe-refusal"}),
        "openai_responses": responses_say({"id": "m1", "type": "message", "role": "assistant", "status": "completed",
                                           "content": [{"type": "refusal", "refusal": "probe-refusal"}]}),
        "anthropic_messages": anthropic_says({"type": "text", "text": "probe-refusal"}, stop="refusal")}),
    Answer("Citation of a page", everywhere("https://cited.example/page"), {
        "openai_chat": openai_says({"content": "Well.", "annotations": [{"type": "url_citation", "url_citation": {
            "url": "https://cited.example/page", "title": "T", "start_index": 0, "end_index": 4}}]}),
        "openai_responses": responses_say(message_item("Well.", annotations=[
            {"type": "url_citation", "url": "https://cited.example/page", "title": "T", "start_index": 0, "end_index": 4}])),
        "anthropic_messages": anthropic_says({"type": "text", "text": "Well.", "citations": [
            {"type": "web_search_result_location", "url": "https://cited.example/page", "title": "T", "cited_text": "Well",
             "encrypted_index": "e"}]})}),
    Answer("Tokens read from the cache", {
        C: '"cached_tokens":7', M: '"cache_read_input_tokens":7', R: '"cached_tokens":7', G: '"cachedContentTokenCount":7'}, {
        "openai_chat": openai_says({"content": "Well."}, prompt_tokens_details={"cached_tokens": 7}),
        "openai_responses": responses_say(message_item("Well."), usage={"input_tokens_details": {"cached_tokens": 7}}),
        "anthropic_messages": anthropic_says({"type": "text", "text": "Well."}, cache_read_input_tokens=7),
        "gemini": gemini_says({"text": "Well."}, cachedContentTokenCount=7),
        "bedrock_converse": bedrock_says({"text": "Well."}, cacheReadInputTokens=7, totalTokens=57)}),
    Answer("Tokens of thought", {C: '"reasoning_tokens":9', R: '"reasoning_tokens":9', G: '"thoughtsTokenCount":9'}, {
        "openai_chat": openai_says({"content": "Well."}, completion_tokens_details={"reasoning_tokens": 9}),
        "openai_responses": responses_say(message_item("Well."), usage={"output_tokens_details": {"reasoning_tokens": 9}}),
        "gemini": gemini_says({"text": "Well."}, thoughtsTokenCount=9, totalTokenCount=59)}),
    Answer("Answer that was cut at its limit", {
        C: '"finish_reason":"length"', M: '"stop_reason":"max_tokens"', R: '"max_output_tokens"', G: '"MAX_TOKENS"'}, {
        "openai_chat": openai_says({"content": "We"}, "length"),
        "openai_responses": responses_say(
            message_item("We"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "anthropic_messages": anthropic_says({"type": "text", "text": "We"}, stop="max_tokens"),
        "gemini": gemini_says({"text": "We"}, finish="MAX_TOKENS"),
        "bedrock_converse": bedrock_says({"text": "We"}, stop="max_tokens"),
        "cohere_chat": cohere_says({"content": [{"type": "text", "text": "We"}]}, "MAX_TOKENS"),
        "ollama_chat": {**ollama_says({"content": "We"}), "done_reason": "length"},
        "replicate": {"id": "p1", "status": "succeeded", "output": "We", "input": {"max_tokens": 20},
                      "metrics": {"input_token_count": 30, "output_token_count": 20}}}),
)  # fmt: skip

#: What no reply of a client's API has a place for: (answer, client), and why.
NO_PLACE: dict[tuple[str, str], str] = {}


# --- asking ----------------------------------------------------------------------------------------------------------


class Verdict(Struct, frozen=True):
    """`word` is "lossless", "adapted", "dropped", "refused" or "none" (the client, or the provider, has no words for it); `about`
    says how, or which names are told.
    """

    word: str
    about: str = ""


def entries() -> list[ModelEntry]:
    prices = {"input_cost_per_token": "0", "output_cost_per_token": "0"}
    return [model_entry(name, host="x", **{**settings, "prices": prices}) for name, settings in MODELS.items()]


@asynccontextmanager
async def a_gateway() -> AsyncIterator[SmallGateway]:
    with tempfile.TemporaryDirectory() as directory:
        async with SmallGateway(Path(directory), entries()) as gateway:
            yield gateway


BASE: dict[str, dict[str, Any]] = {
    C: {"messages": [ASKED[C]]},
    M: {"messages": [ASKED[M]], "max_tokens": 1000},
    R: {"input": "Go.", "store": False},
    G: {"contents": [ASKED[G]]},
}


async def ask(gateway: SmallGateway, client: str, provider: str, fields: dict[str, Any], reply: dict[str, Any]) -> Any:
    gateway.upstream.reply_to(None, FakeReply.json(reply), host=f"{provider}.example")
    path = CLIENTS[client][1].format(model=provider)
    body = {**BASE[client], **fields}
    if client != G:
        body["model"] = provider
    return await gateway.ask(path=path, body=json.dumps(body).encode())


async def asked(gateway: SmallGateway, feature: Feature, client: str, provider: str) -> Verdict:
    fields = feature.asks.get(client)
    if fields is None:
        return Verdict("none")
    if feature.title == "Streaming":
        return await streamed(gateway, client, provider, fields)
    before = len(gateway.upstream.requests)
    answer = await ask(gateway, client, provider, fields, HELLO[provider])
    if answer.status == 400:
        return Verdict("refused", answer.json()["error"].get("param") or _param_of(answer.json()))
    if answer.status != 200 or len(gateway.upstream.requests) != before + 1:
        raise AssertionError(f"{feature.title}: {client} -> {provider}: {answer.status} {answer.body!r}")
    request = gateway.upstream.requests[-1]
    return judged(feature, client, provider, _tight(request.body), answer.headers.get("x-tollway-dropped", ""))


def judged(feature: Feature, client: str, provider: str, sent: str, dropped: str) -> Verdict:
    found = any(mark in sent for mark in (feature.mark, *feature.names))
    proof, how = ADAPTED.get((feature.title, provider), ("", ""))
    if client == provider:
        how = ""
    if how and proof in sent:
        return Verdict("adapted", how + (f"; {names(dropped)}" if dropped else ""))
    if dropped:
        return (
            Verdict("adapted", f"without {names(dropped)}")
            if found and len(feature.mark) > 8
            else Verdict("dropped", names(dropped))
        )
    if found:
        return Verdict("lossless")
    raise AssertionError(f"{feature.title}: {client} -> {provider}: lost in silence: {sent}")


def names(dropped: str) -> str:
    return ", ".join(f"`{name}`" for name in dropped.split(","))


def _tight(body: bytes) -> str:
    return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)


def _param_of(body: Any) -> str:
    """Where Gemini's and Anthropic's errors name a field."""
    details = body["error"].get("details") or [{}]
    return str((details[0].get("metadata") or {}).get("param") or body["error"]["message"].split(" ", 1)[0].strip("'"))


async def streamed(gateway: SmallGateway, client: str, provider: str, fields: dict[str, Any]) -> Verdict:
    """Whether the provider is asked for a stream, and the client gets one."""
    path = CLIENTS[client][1].format(model=provider).replace(":generateContent", ":streamGenerateContent")
    body = {**BASE[client], **fields}
    if client != G:
        body["model"] = provider
    gateway.upstream.reply_to(None, FakeReply.json(HELLO[provider]), host=f"{provider}.example")
    await gateway.ask(path=path, body=json.dumps(body).encode(), query=b"alt=sse" if client == G else b"")
    request = gateway.upstream.requests[-1]
    if not request.streaming and b'"stream":true' not in request.body:  # one asks for it, and hears it elsewhere
        raise AssertionError(f"Streaming: {client} -> {provider}: not asked for")
    proof, how = ADAPTED.get(("Streaming", provider), ("", ""))
    if how and proof in request.path:
        return Verdict("lossless")
    if '"stream":true' not in request.body.decode():
        raise AssertionError(f"Streaming: {client} -> {provider}: not said")
    return Verdict("lossless")


async def answered(gateway: SmallGateway, answer: Answer, client: str, provider: str) -> Verdict:
    reply, mark = answer.replies.get(provider), answer.marks.get(client)
    if reply is None or mark is None:
        return Verdict("none")
    got = await ask(gateway, client, provider, {}, reply)
    if got.status != 200:
        raise AssertionError(f"{answer.title}: {provider} -> {client}: {got.status} {got.body!r}")
    if mark in got.body.decode().replace('": ', '":'):
        return Verdict("lossless")
    if (why := NO_PLACE.get((answer.title, client))) is not None:
        return Verdict("dropped", why)
    raise AssertionError(f"{answer.title}: {provider} -> {client}: lost in silence: {got.body!r}")


Cell = tuple[str, str, str]


async def measure() -> tuple[dict[Cell, Verdict], dict[Cell, Verdict]]:
    """(requests, replies): the verdict of every (feature, client, provider)."""
    requests: dict[Cell, Verdict] = {}
    replies: dict[Cell, Verdict] = {}
    async with a_gateway() as gateway:
        for client in CLIENTS:
            for provider in PROVIDERS:
                for feature in FEATURES:
                    requests[feature.title, client, provider] = await asked(gateway, feature, client, provider)
                for answer in ANSWERS:
                    replies[answer.title, client, provider] = await answered(gateway, answer, client, provider)
    return requests, replies


@cache
def verdicts() -> tuple[dict[Cell, Verdict], dict[Cell, Verdict]]:
    """`measure`, once. Raises AssertionError for whatever is lost in silence."""
    return asyncio.run(measure())


# --- the page --------------------------------------------------------------------------------------------------------

SIGNS = {"lossless": "✓", "adapted": "≈", "dropped": "–", "refused": "✗", "none": ""}
INTRODUCTION = """\
# What survives between two APIs

<!-- Written by scripts/make_compatibility.py, which asks the gateway itself; tests/compatibility holds this page to it. -->

A client may speak one API and its provider another. This page says, for each of the four APIs that clients chat in, what each
provider's API is told of a request, and what the client is told of the answer. Where both speak the same API the client's bytes
pass, so nothing is lost there that the provider itself understands.

| sign | meaning |
|---|---|
| ✓ | It arrives. |
| ≈ | It arrives, said in another way; the note says how. |
| – | It is left out and named in `x-tollway-dropped`; the note has the names. (`lossless: reject` refuses such a call.) |
| ✗ | The call is refused with 400, and the error names the field. |
| | One of the two has no words for it. |

Each cell was asked of a gateway with a model that can do what its API can say (a GPT-5.1, a Claude Opus 4.6, a Gemini 3 Pro,
...); a model that can do less may be told less, by name. Nothing is lost in silence: such a cell could not be written.

"""


def page() -> str:
    requests, replies = verdicts()
    text = INTRODUCTION
    for client, (title, path) in CLIENTS.items():
        text += f"## Clients of {title}\n\n`POST {path}`\n\n"
        text += _table([feature.title for feature in FEATURES], requests, client, "asked")
        text += _table([answer.title for answer in ANSWERS], replies, client, "answered")
    return text.rstrip("\n") + "\n"


def _table(titles: list[str], cells: dict[Cell, Verdict], client: str, head: str) -> str:
    notes: dict[str, int] = {}
    rows = [f"| {head} | " + " | ".join(PROVIDERS.values()) + " |", "|---" * (len(PROVIDERS) + 1) + "|"]
    for title in titles:
        found = [cells[title, client, provider] for provider in PROVIDERS]
        if all(verdict.word == "none" for verdict in found):
            continue
        rows.append(f"| {title} | " + " | ".join(_cell(verdict, notes) for verdict in found) + " |")
    told = "".join(f"{number}. {note}\n" for note, number in notes.items())
    return "\n".join(rows) + "\n\n" + (told + "\n" if told else "")


def _cell(verdict: Verdict, notes: dict[str, int]) -> str:
    sign = SIGNS[verdict.word]
    if verdict.word == "refused":
        verdict = Verdict(verdict.word, f"`{verdict.about}`")
    return f"{sign} ({notes.setdefault(verdict.about, len(notes) + 1)})" if verdict.about else sign
