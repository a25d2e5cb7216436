"""What becomes of a request's parameters on their way to a provider: dropped by name, passed in spite of a dialect, filled in
from the configuration, mended, bounded. Nothing here waits, and whatever is taken away is given back by its name.

A *path* names a field or something inside it: `user`, `tools[*].function.strict`, `response_format.json_schema.strict`,
`messages[0].name`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import (
    Audio,
    Conversation,
    Document,
    Image,
    Link,
    Message,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from tollway.dialects import WANTS_BYTES, EncodedRequest, Traits
from tollway.errors import BadRequest

#: Nothing may drop these: without them there is no call.
KEPT_FIELDS = frozenset({"model", "messages", "stream", "input", "contents"})
#: Paths that one request may name, and how deep one may go.
PATHS_MAX = 64
DEPTH_MAX = 12

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\*|\d{0,6})\]")


# --- dropping ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def path_of(written: str) -> tuple[str, ...]:
    """`tools[*].function.strict` -> ("tools", "*", "function", "strict"). () for what is no path."""
    steps: list[str] = []
    at = 0
    while at < len(written):
        found = _STEP.match(written, at)
        if found is None:
            return ()
        steps.append(found[1] if found[1] is not None else found[2] or "*")
        at = found.end()
    return tuple(steps) if len(steps) <= DEPTH_MAX else ()


def drop_paths(fields: dict[str, Any], paths: Iterable[str]) -> list[str]:
    """Takes away what the paths name; returns those that named something. Values are msgspec's `Raw` or plain; what stands
    beside a nested member keeps its bytes.
    """
    dropped = []
    for written in paths:
        top, *inner = path_of(written) or (written,)
        if top not in fields or (not inner and top in KEPT_FIELDS):
            continue
        if not inner:
            if fields.pop(top) is not None:
                dropped.append(written)
            continue
        value, found = _without(fields[top], inner)
        if found:
            fields[top] = value
            dropped.append(written)
    return dropped


def drops_asked(paths: list[str] | None) -> list[str]:
    """The paths of a request's own `additional_drop_params`. Raises BadRequest for too many, or one that is none."""
    for path in paths or ():
        if not path_of(path):
            raise BadRequest(
                f"additional_drop_params: {path[:100]!r} is no path. Write it like 'user' or 'tools[*].function.strict'.",
                param="additional_drop_params",
            )
    if paths and len(paths) > PATHS_MAX:
        raise BadRequest(f"additional_drop_params may name {PATHS_MAX} fields at most.", param="additional_drop_params")
    return paths or []


def _without(value: Any, steps: list[str]) -> tuple[Any, bool]:
    """The value without what the steps lead to, and whether there was anything."""
    given = value
    if isinstance(value, Raw):
        value = _opened(value)
    changed: Any
    if isinstance(value, list):
        changed, found = _list_without(value, steps)
    elif isinstance(value, dict) and steps[0] in value:
        changed = dict(value)
        if len(steps) == 1:
            del changed[steps[0]]
            found = True
        else:
            changed[steps[0]], found = _without(value[steps[0]], steps[1:])
    else:
        return given, False
    if not found:
        return given, False
    return (Raw(msgspec.json.encode(changed)) if isinstance(given, Raw) else changed), True


def _list_without(value: list[Any], steps: list[str]) -> tuple[list[Any], bool]:
    """A number names one member; everything else all of them, also where the star was left out."""
    step, rest = steps[0], steps[1:]
    if step.isdigit():
        at = int(step)
        if at >= len(value):
            return value, False
        if not rest:
            return [*value[:at], *value[at + 1 :]], True
        changed, found = _without(value[at], rest)
        return [*value[:at], changed, *value[at + 1 :]], found
    inner = rest if step == "*" else steps
    if not inner:
        return [], bool(value)
    kept, founds = [], []
    for member in value:
        changed, found = _without(member, inner)
        kept.append(changed)
        founds.append(found)
    return kept, any(founds)


def _opened(raw: Raw) -> Any:
    """One level of a value, its members as they came."""
    text = bytes(raw).lstrip()
    try:
        if text.startswith(b"{"):
            return msgspec.json.decode(text, type=dict[str, Raw])
        if text.startswith(b"["):
            return msgspec.json.decode(text, type=list[Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # the provider will say what it thinks of it
    return None


# --- passing in spite of a dialect -----------------------------------------------------------------------------------


def pass_as_given(names: Iterable[str], given: Mapping[str, Any], encoded: dict[str, Any], dropped: list[str]) -> None:
    """Puts back, as they were given, those of `names` that were dropped, and takes their names out of `dropped`."""
    for name in names:
        if name in dropped and name in given:
            encoded.setdefault(name, given[name])
            while name in dropped:
                dropped.remove(name)


# --- the configuration's parameters ----------------------------------------------------------------------------------

#: Fields of a chat completion that the configuration may set and that other dialects say in their own words, or cannot say.
#: https://platform.openai.com/docs/api-reference/chat/create (2026-11-22). A name that is not among them is sent as it is.
OPENAI_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "modalities", "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "stream_options", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
#: The spellings of one thing, the one that counts first: what is set under one of them is set.
OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_SAME = (OUTPUT_LIMITS, ("reasoning_effort", "thinking", "reasoning"), ("stop", "stop_sequences"))
_SPELLINGS = {name: names for names in _SAME for name in names}

#: What a configuration may set for clients that say nothing of it.
_SETTINGS = tuple(
    name
    for name in Conversation.__struct_fields__
    if name not in ("model", "messages", "system", "streaming", "usage_wanted", "dialect", "extra", "dropped")
)
_BLANK = Conversation("", [])
#: Members of a request that a blank one has, too.
_STRUCTURE = frozenset({"model", "messages", "input", "contents", "stream", "prompt"})

Decode = Callable[[dict[str, Raw]], Conversation]
Encode = Callable[[Conversation, Traits], EncodedRequest]


def put_under(fields: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Lays `defaults` under a chat completion's fields: one that the request sets, under whatever spelling, stays."""
    for name, value in defaults.items():
        if not any(other in fields for other in _SPELLINGS.get(name, (name,))):
            fields[name] = value


class Configured(Struct):
    """A deployment's defaults as what a client might have asked. `foreign` are those that OpenAI does not know: a dialect that does
    not know them either is sent them as they are.
    """

    asked: Conversation
    foreign: dict[str, Any]


def configured(defaults: Mapping[str, Raw], model: Raw, decode: Decode) -> Configured:
    """Reads defaults that are written in OpenAI's words. `decode` is the `decode_request` of chat completions."""
    foreign = {name: value for name, value in defaults.items() if name not in OPENAI_FIELDS}
    try:
        asked = decode({**defaults, "model": model, "messages": _SAYS_NOTHING})
    except BadRequest:  # written in the words of the provider's own API
        asked = decode({"model": model, "messages": _SAYS_NOTHING})
        asked.extra = dict(defaults)
        foreign = dict(defaults)
    return Configured(asked, foreign)


_SAYS_NOTHING = Raw(b'[{"role":"user","content":"."}]')


def settle_under(conversation: Conversation, defaults: Conversation) -> None:
    """Fills in what a conversation does not say."""
    for name in _SETTINGS:
        if getattr(conversation, name) == getattr(_BLANK, name):
            setattr(conversation, name, getattr(defaults, name))


def in_own_words(said: Configured, encode: Encode, traits: Traits, output_tokens_max: int | None) -> EncodedRequest:
    """The configuration's parameters as fields of a dialect: only those, without the request's structure.

    `output_tokens_max` is the client's own limit: a budget of thought is made to fit with it.
    """
    asked = msgspec.structs.replace(said.asked, extra=dict(said.asked.extra), dropped=[])
    unlimited = asked.output_tokens_max is None and output_tokens_max is None
    if output_tokens_max is not None:
        asked.output_tokens_max = output_tokens_max
    encoded = encode(asked, traits)
    fields = {name: value for name, value in encoded.fields.items() if name not in _STRUCTURE}
    if unlimited and "thinking" not in fields:
        fields.pop("max_tokens", None)  # what a dialect demands, and its client has said
    encoded.fields = fields
    said.asked.dropped = asked.dropped
    return encoded


def put_extra_under(encoded: EncodedRequest, said: Configured, encode: Encode, traits: Traits) -> list[str]:
    """Lays under a translated request what the configuration sets and dialects do not share: what it adds to a blank request.
    Returns what the dialect has no word for.
    """
    if not said.asked.extra:
        return []
    blank = Conversation(said.asked.model, list(said.asked.messages), dialect=said.asked.dialect)
    plain = encode(blank, traits)
    blank.extra = dict(said.asked.extra)
    for name, value in encode(blank, traits).fields.items():
        under = plain.fields.get(name)
        there = encoded.fields.setdefault(name, value) if under is None else encoded.fields.get(name)
        if isinstance(there, dict) and isinstance(value, dict) and there is not value:
            for inner in value.keys() - (under or {}).keys():
                there.setdefault(inner, value[inner])
    return blank.dropped


# --- output limits ---------------------------------------------------------------------------------------------------

#: Where dialects keep the limit that is not at the top.
_NESTED_LIMITS = (("options", "num_predict"), ("inferenceConfig", "maxTokens"), ("generationConfig", "maxOutputTokens"))


def keep_to_limit(fields: dict[str, Any], limit: int, dropped: list[str]) -> None:
    """Lowers every output limit in a request to `limit`, under whatever name. A dialect may have raised one to make room for
    thought, and the configuration may have set one; not where a budget has lowered it.
    """
    for name in OUTPUT_LIMITS:
        if _number(fields.get(name)) > limit:
            fields[name] = limit
            if fields.pop("thinking", None) is not None:
                dropped.append("thinking")
    for outer, name in _NESTED_LIMITS:
        inner = fields.get(outer)
        if isinstance(inner, dict) and _number(inner.get(name)) > limit:
            fields[outer] = {**inner, name: limit}


def _number(value: Any) -> float:
    if isinstance(value, Raw):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return 0
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


# --- replies in JSON -------------------------------------------------------------------------------------------------

#: Servers of chat completions that know `json_object` only: a schema is told to the model in words.
#: https://api-docs.deepseek.com/guides/json_mode, https://platform.moonshot.ai/docs/guide/use-json-mode-feature-of-kimi-api,
#: https://docs.z.ai/guides/capabilities/struct-output, https://docs.ai21.com/reference/jamba-1-6-api-ref (2026-11-22)
WITHOUT_SCHEMAS = frozenset({"ai21", "ai21_chat", "deepseek", "moonshot", "zai"})


class _Schema(Struct):
    schema: Raw = Raw(b"{}")


class _Format(Struct):
    type: str = ""
    json_schema: _Schema | None = None


def tell_schema(fields: dict[str, Any]) -> bool:
    """Turns a chat completion's `json_schema` into `json_object` and an instruction. False where there is none."""
    given = fields.get("response_format")
    if given is None:
        return False
    try:
        form = msgspec.json.decode(msgspec.json.encode(given), type=_Format)
        messages = msgspec.json.decode(msgspec.json.encode(fields["messages"]), type=list[Raw])
    except msgspec.DecodeError:
        return False
    if form.type != "json_schema" or form.json_schema is None:
        return False
    schema = bytes(form.json_schema.schema).decode("utf-8", "replace")
    words = f"Answer with one JSON value and nothing else. It must be valid against this JSON schema:\n{schema}"
    fields["response_format"] = {"type": "json_object"}
    fields["messages"] = [*_with_instruction(messages[:1], words), *messages[1:]]
    return True


def _with_instruction(first: list[Raw], words: str) -> list[Any]:
    """Beside the system's own words, where they are a plain text: many servers take one system message only."""
    said = _opened(first[0]) if first else None
    if isinstance(said, dict) and said.get("role") in (Raw(b'"system"'), Raw(b'"developer"')):
        content = msgspec.json.decode(said.get("content", b"null"))
        if isinstance(content, str):
            return [{**said, "content": f"{content}\n\n{words}"}]
    return [{"role": "system", "content": words}, *first]


# --- media by URL ----------------------------------------------------------------------------------------------------


def refuse_links(conversation: Conversation, dialect: str, model: str) -> None:
    """Raises BadRequest for media by URL that the provider would have to be given as bytes: left out, nobody would see that the
    model was not shown them.
    """
    wants = WANTS_BYTES.get(dialect)
    if wants is None:
        return
    for at, message in enumerate(conversation.messages):
        parts = message.parts
        if (len(parts) == 1 and type(parts[0]) is Text) or not _holds_media(parts):
            continue
        for part in _media_in(message.parts):
            kind = type(part).__name__.lower()
            if isinstance(part.source, Link) and kind in wants and not part.source.url.startswith("s3://"):
                where = f"messages[{at}].content[{kind}]"
                raise BadRequest(
                    f"{where} names a URL: the provider of {model!r} takes the {kind} itself, in base64. Send it so, or let "
                    "an administrator name its host in `media_fetch.allow_hosts`.",
                    param=where,
                    code="unsupported_parameter",
                )


_MEDIA = frozenset({Image, Audio, Document, Video})


def _holds_media(parts: Iterable[Part]) -> bool:
    """0.1 us. A loop, because a generator would cost twice as much, and a talk has hundreds of parts."""
    for part in parts:
        if type(part) is Text or type(part) is ToolCall:
            continue
        if type(part) is ToolResult:
            if _holds_media(part.parts):
                return True
        elif type(part) in _MEDIA:
            return True
    return False


def _media_in(parts: Iterable[Part]) -> Iterable[Image | Audio | Document | Video]:
    for part in parts:
        if isinstance(part, ToolResult):
            yield from _media_in(part.parts)
        elif isinstance(part, (Image, Audio, Document, Video)):
            yield part


# --- mending: `modify_params` ----------------------------------------------------------------------------------------

#: Who wants the user to speak first.
_USER_FIRST = frozenset({"anthropic_messages", "bedrock_converse", "gemini"})
#: Who refuses calls of tools among the messages where no tools are defined.
#: https://docs.claude.com/en/api/messages (2026-11-22)
_TOOLS_DEFINED = frozenset({"anthropic_messages", "bedrock_converse"})
FIRST_WORDS = "(The conversation continues.)"
EMPTY_WORDS = "(empty)"
NO_RESULT = "(There is no result of this call.)"
_ANY_OBJECT = Raw(b'{"type":"object","properties":{}}')


def mend(conversation: Conversation, dialect: str) -> list[str]:
    """Changes a conversation so that the provider takes it, and returns what was changed: a place that was filled in or rewritten
    as it is, one that was added with a plus before it.

    Filled in: a message that says nothing. Rewritten: a tool's result that answers no call becomes what the user says. Added:
    a user's message before an assistant's that comes first; a result for a call that has none though the conversation went on;
    definitions of the tools that were called where there are none (the model is then told to call none of them).
    """
    changes: list[str] = []
    conversation.messages = _answered(conversation.messages, changes)
    for at, message in enumerate(conversation.messages):
        if message.role in ("user", "assistant") and not any(_says_something(part) for part in message.parts):
            message.parts = [Text(EMPTY_WORDS)]
            changes.append(f"messages[{at}].content")
    spoken = [message for message in conversation.messages if message.role != "system"]
    if dialect in _USER_FIRST and (not spoken or spoken[0].role != "user"):
        conversation.messages.insert(0, Message("user", [Text(FIRST_WORDS)]))
        changes.append("+messages[0]")
    called = {
        part.name: None for message in conversation.messages for part in message.parts if isinstance(part, ToolCall)
    }
    if dialect in _TOOLS_DEFINED and called and not conversation.tools:
        conversation.tools = [Tool(name, parameters=_ANY_OBJECT) for name in called]
        conversation.tool_choice = ToolChoice("none")
        changes.append("+tools")
    return changes


def _says_something(part: Part) -> bool:
    return not isinstance(part, Text) or bool(part.text.strip())


def _answered(messages: list[Message], changes: list[str]) -> list[Message]:
    """The messages with each call answered once, right behind it, and no answers to calls that were never made."""
    kept: list[Message] = []
    waiting: list[str] = []
    made: set[str] = set()
    for at, message in enumerate(messages):
        if message.role != "tool":
            _answer_for(waiting, kept, at, changes)
        orphans = [part for part in message.parts if isinstance(part, ToolResult) and part.call_id not in made]
        for part in message.parts:
            if isinstance(part, ToolCall) and not part.server_side:
                waiting.append(part.id)
                made.add(part.id)
            elif isinstance(part, ToolResult) and part.call_id in waiting:
                waiting.remove(part.call_id)
        if orphans:
            own = [part for part in message.parts if part not in orphans]
            if own:
                kept.append(Message(message.role, own, message.name))
            told: list[Part] = [inner for orphan in orphans for inner in orphan.parts]
            kept.append(Message("user", [Text("Result of a tool:"), *told]))
            changes.append(f"messages[{at}]")
        else:
            kept.append(message)
    if kept and kept[-1].role == "tool":  # some of the last calls are answered: then all must be
        _answer_for(waiting, kept, len(messages), changes)
    return kept


def _answer_for(waiting: list[str], kept: list[Message], at: int, changes: list[str]) -> None:
    if not waiting:
        return
    results: list[Part] = [ToolResult(call_id, [Text(NO_RESULT)], failed=True) for call_id in waiting]
    if kept and kept[-1].role == "tool":
        kept[-1] = Message("tool", [*kept[-1].parts, *results])
    else:
        kept.append(Message("tool", results))
    changes.append(f"+messages[{at}][tool_result]")
    waiting.clear()


# --- Anthropic's beta flags ------------------------------------------------------------------------------------------

#: The flags that a provider of Claude knows; it refuses a call that names any other. A provider that is not listed is Anthropic
#: itself, or compatible with it, and is sent every flag. Bedrock's:
#: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html; Google's:
#: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude and what people were refused:
#: https://github.com/anthropics/claude-code/issues/21625, https://github.com/vercel/ai/issues/10981 (2026-11-22)
BETAS_KNOWN: dict[str, frozenset[str]] = {
    "bedrock": frozenset(
        {
            "compact-2026-01-12", "computer-use-2024-10-22", "computer-use-2025-01-24", "computer-use-2025-11-24",
            "context-1m-2025-08-07", "context-management-2025-06-27", "dev-full-thinking-2025-05-14", "effort-2025-11-24",
            "fine-grained-tool-streaming-2025-05-14", "interleaved-thinking-2025-05-14", "output-128k-2025-02-19",
            "token-efficient-tools-2025-02-19", "tool-examples-2025-10-29", "tool-search-tool-2025-10-19",
        }
    ),
    "vertex_ai": frozenset(
        {
            "compact-2026-01-12", "computer-use-2024-10-22", "computer-use-2025-01-24", "computer-use-2025-11-24",
            "context-1m-2025-08-07", "context-management-2025-06-27", "interleaved-thinking-2025-05-14",
            "tool-search-tool-2025-10-19",
        }
    ),
}  # fmt: skip
BETAS_KNOWN["vertex_ai_beta"] = BETAS_KNOWN["vertex_ai"]
_FLAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: More flags than any client has.
FLAGS_MAX = 64


def split_betas(
    header: bytes, provider: str, allowed: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the flags to send on, those that are taken out) of a client's `anthropic-beta`. `allowed` is what the configuration says
    of a deployment; otherwise it is the provider's own list.
    """
    known = frozenset(allowed) if allowed is not None else BETAS_KNOWN.get(provider)
    asked = dict.fromkeys(flag for flag in map(str.strip, header.decode("latin-1").split(",")) if flag)
    fit = [flag for flag in asked if _FLAG.fullmatch(flag) and (known is None or flag in known)][:FLAGS_MAX]
    return tuple(fit), tuple(flag for flag in asked if flag not in fit)
