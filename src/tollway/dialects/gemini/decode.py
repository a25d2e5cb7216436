"""A request to Gemini in our words. https://ai.google.dev/api/generate-content#request-body (2026-11-22).

The protocol buffers' JSON takes each name in two spellings, `systemInstruction` and `system_instruction`, and Google's
own pages use both; so a message's names are read by `_given`, which knows the two. Where the API takes a list, its pages
also show one object alone.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import (
    Conversation,
    Inline,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningOptions,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearch,
)
from tollway.dialects import decode_field
from tollway.dialects.gemini.parts import (
    NAME,
    arguments_text,
    file_source,
    media_part,
    read_signature,
    unpack_thought,
)
from tollway.dialects.gemini.schema import json_schema
from tollway.errors import BadRequest
from tollway.remembered import Remembered

_NULL = Raw(b"null")
_Fields = dict[str, Raw]

#: Members of `generationConfig` whose value is taken as it is: the wire name, ours, and the type it must have.
PLAIN_SETTINGS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", float),
    "topP": ("top_p", float),
    "candidateCount": ("n", int),
    "maxOutputTokens": ("output_tokens_max", int),
    "stopSequences": ("stop", list[str]),
    "seed": ("seed", int),
    "presencePenalty": ("presence_penalty", float),
    "frequencyPenalty": ("frequency_penalty", float),
    "responseLogprobs": ("logprobs", bool),
    "logprobs": ("top_logprobs", int),
}
_SETTINGS_READ_APART = frozenset({"topK", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig"})
_READ_APART = frozenset(
    {"model", "contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "serviceTier"}
)
#: `extra` holds a member of `generationConfig` under its name behind this.
SETTING = "generationConfig."

_TIERS_FROM_WIRE = {"standard": "default", "unspecified": ""}


def decode_request(fields: dict[str, Raw]) -> Conversation:
    """A request's top level in our words; `model` is "" where nobody put it there from the path. Raises BadRequest
    naming what is wrong and where.
    """
    given = camel(fields)
    conversation = Conversation(model="", messages=[], dialect=NAME, usage_wanted=True)  # usage is always told
    if "model" in given:
        conversation.model = decode_field("model", given["model"], str).removeprefix("models/")
    if "contents" not in given:
        raise BadRequest("contents is not specified", param="contents")
    reader = _read_contents(given["contents"], conversation)
    if not conversation.messages:
        raise BadRequest("contents: at least one content is required", param="contents")
    if "systemInstruction" in given:
        conversation.system = _system(given["systemInstruction"], reader)
    if "generationConfig" in given:
        _decode_settings(_object("generationConfig", given["generationConfig"]), conversation)
    if "tools" in given:
        tools, left_out = _tools(given["tools"])
        conversation.tools = list(tools)
        conversation.dropped += [place for place in left_out if place not in conversation.dropped]
    if "toolConfig" in given:
        _decode_choice(given["toolConfig"], conversation)
    if "serviceTier" in given:
        tier = decode_field("serviceTier", given["serviceTier"], str).lower()
        conversation.service_tier = _TIERS_FROM_WIRE.get(tier, tier)
    for name, raw in given.items():
        if name not in _READ_APART:
            conversation.extra[name] = Raw(bytes(raw))
    return conversation


# --- reading JSON --------------------------------------------------------------------------------------------------

_SNAKE = re.compile(r"_([a-z0-9])")


def camel(fields: _Fields) -> _Fields:
    """The members that are given, by their names in camel case."""
    return {
        _SNAKE.sub(lambda found: found[1].upper(), name) if "_" in name else name: raw
        for name, raw in fields.items()
        if raw != _NULL
    }


def _object(where: str, raw: Raw) -> _Fields:
    return camel(decode_field(where, raw, _Fields))


def _listed(where: str, raw: Raw) -> list[Raw]:
    """A list, or one object alone as a list of one."""
    if _begins(raw, b"{"):
        return [raw]
    items: list[Raw] = decode_field(where, raw, list[Raw])
    return items


def _begins(raw: Raw, byte: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == byte


def _text(fields: _Fields, name: str, where: str) -> str:
    return str(decode_field(f"{where}.{name}", fields[name], str)) if name in fields else ""


# --- contents ------------------------------------------------------------------------------------------------------


class _PlainPart(Struct, forbid_unknown_fields=True, gc=False):
    """What most parts hold one of, and nothing else."""

    text: str | None = None
    functionCall: Raw = Raw()
    functionResponse: Raw = Raw()


class _PlainContent(Struct, forbid_unknown_fields=True, gc=False):
    parts: list[_PlainPart]
    role: str = "user"


class _RareContent(Exception):
    """One that must be read with care."""


_decode_plain = msgspec.json.Decoder(_PlainContent).decode
_decode_plain_contents = msgspec.json.Decoder(list[_PlainContent]).decode
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, _RareContent)


def _read_contents(raw: Raw, conversation: Conversation) -> _ContentReader:
    """At once where all are plain, which costs half as much; else each by itself, with care where it must be."""
    reader = _ContentReader(conversation)
    try:
        for at, content in enumerate(_decode_plain_contents(raw)):
            reader.read_plain(content, at)
    except _NOT_PLAIN:
        conversation.messages.clear()
        conversation.dropped.clear()
        reader = _ContentReader(conversation)
        for at, one in enumerate(_listed("contents", raw)):
            reader.read(one, at)
    return reader


class _ContentReader:
    """Reads contents in their order: calls may have no ids, so a result belongs to the call of its name that has
    waited longest.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._calls = 0
        self._waiting: list[tuple[str, str]] = []  # (id, name) of calls without a result so far

    def read(self, raw: Raw, at: int) -> None:
        """One content is up to two messages of ours, the tools' results apart from what is said beside them; and the
        model's contents in a row are one, since Google's Python SDK keeps each chunk of a stream as a content.
        """
        try:
            self.read_plain(_decode_plain(raw), at)
        except _NOT_PLAIN:
            self._read_with_care(raw, f"contents[{at}]")

    def read_plain(self, content: _PlainContent, at: int) -> None:
        """0.4 us for a text. Raises _RareContent before anything is changed."""
        role = content.role
        if role != "user" and role != "model":
            raise _RareContent
        if len(content.parts) == 1:
            part = content.parts[0]
            if part.text and not part.functionCall and not part.functionResponse:  # what most are
                messages = self._conversation.messages
                if role == "user":
                    messages.append(Message("user", [Text(part.text)]))
                    return
                if not messages or messages[-1].role != "assistant":
                    messages.append(Message("assistant", [Text(part.text)]))
                    return
        parts = self._plain_parts(content, at)
        if role == "model":
            self._go_on(parts)
        else:
            self._say(parts)

    def _read_with_care(self, raw: Raw, where: str) -> None:
        content = _object(where, raw)
        role = _text(content, "role", where).lower() or "user"
        if role not in ("user", "model", "function", "tool"):
            raise BadRequest(f"{where}.role: Please use a valid role: user, model.", param=f"{where}.role")
        if role == "model":
            self._read_model(content, where)
        else:
            self._say(self.parts(content, where, []))

    def _plain_parts(self, content: _PlainContent, at: int) -> list[Part]:
        for part in content.parts:
            wire = part.functionCall or part.functionResponse
            if (part.text is None) == (not wire) or wire == _NULL or (part.functionCall and part.functionResponse):
                raise _RareContent
        parts: list[Part] = []
        for place, part in enumerate(content.parts):
            if part.text is not None:
                parts.append(Text(part.text))
            elif part.functionCall:
                parts.append(self._call(part.functionCall, f"contents[{at}].parts[{place}].functionCall", ""))
            else:
                where = f"contents[{at}].parts[{place}].functionResponse"
                parts.append(self._result(part.functionResponse, where))
        return parts

    def plain_system(self, content: _PlainContent) -> list[Part]:
        """Raises _RareContent for anything but texts."""
        if any(part.text is None or part.functionCall or part.functionResponse for part in content.parts):
            raise _RareContent
        return [Text(part.text or "") for part in content.parts]

    def _say(self, parts: list[Part]) -> None:
        results: list[Part] = [part for part in parts if isinstance(part, ToolResult)]
        others: list[Part] = [part for part in parts if not isinstance(part, ToolResult)]
        if results:
            self._conversation.messages.append(Message("tool", results))
        if others or not results:
            self._conversation.messages.append(Message("user", others))

    def _read_model(self, content: _Fields, where: str) -> None:
        parts = self._turn()
        before = len(parts)
        self.parts(content, where, parts)
        self._settle(parts, before)

    def _go_on(self, parts: list[Part]) -> None:
        turn = self._turn()
        before = len(turn)
        turn += parts
        self._settle(turn, before)

    def _turn(self) -> list[Part]:
        """The parts of the model's turn that is going on, or of a new one."""
        messages = self._conversation.messages
        if not messages or messages[-1].role != "assistant":
            messages.append(Message("assistant", []))
        return messages[-1].parts

    def _settle(self, parts: list[Part], before: int) -> None:
        """Of what came behind so many parts, empty texts go, and a text goes on from one."""
        if _NOTHING in parts[before:]:
            parts[before:] = [part for part in parts[before:] if part != _NOTHING]
        if 0 < before < len(parts):
            first, last = parts[before], parts[before - 1]
            if type(first) is Text and type(last) is Text:  # two pieces of a stream
                last.text += first.text
                del parts[before]

    def parts(self, content: _Fields, where: str, parts: list[Part]) -> list[Part]:
        """The content's parts, put behind `parts`."""
        if "parts" in content:
            for place, raw in enumerate(_listed(f"{where}.parts", content["parts"])):
                self._read_part(raw, f"{where}.parts[{place}]", parts)
        return parts

    def _read_part(self, raw: Raw, where: str, parts: list[Part]) -> None:
        part = _object(where, raw)
        signature, redacted, maker = read_signature(_signature(part, where))
        sealed = Reasoning(signature=signature, redacted=redacted, maker=maker)
        if "text" in part:
            thought = "thought" in part and bytes(part["thought"]) == b"true"
            _add_text(_text(part, "text", where), thought, sealed, parts)
        elif "functionCall" in part:
            packed = unpack_thought(_signature(part, where))
            for before in packed or ():
                if not any(isinstance(one, Reasoning) and _same_seal(one, before) for one in parts):
                    parts.append(before)
            own = "" if packed is not None or maker != NAME else signature
            parts.append(self._call(part["functionCall"], f"{where}.functionCall", own))
        elif "functionResponse" in part:
            parts.append(self._result(part["functionResponse"], f"{where}.functionResponse"))
        elif "inlineData" in part or "fileData" in part:
            if signature:
                parts.append(sealed)
            parts.append(_media(part, where))
            self._note_beside(part, {"inlineData", "fileData", "thought", "thoughtSignature"})
        else:
            parts.append(Opaque(NAME, Raw(bytes(raw))))

    def _call(self, raw: Raw, where: str, signature: str) -> ToolCall:
        call = _object(where, raw)
        name = _text(call, "name", where)
        call_id = _text(call, "id", where) or f"call_{self._calls}"
        self._calls += 1
        self._waiting.append((call_id, name))
        return ToolCall(call_id, name, arguments_text(call.get("args", Raw())), signature=signature)

    def _result(self, raw: Raw, where: str) -> ToolResult:
        given = _object(where, raw)
        call_id = self._answered(_text(given, "id", where), _text(given, "name", where))
        parts, failed = _response(given.get("response", Raw(b"{}")), f"{where}.response")
        if "parts" in given:
            for place, inner in enumerate(_listed(f"{where}.parts", given["parts"])):
                inner_where = f"{where}.parts[{place}]"
                fields = _object(inner_where, inner)
                known = "inlineData" in fields or "fileData" in fields
                parts.append(_media(fields, inner_where) if known else Opaque(NAME, Raw(bytes(inner))))
        self._note_beside(given, {"id", "name", "response", "parts"})
        return ToolResult(call_id, parts, failed)

    def _answered(self, call_id: str, name: str) -> str:
        """The id of the call that a result answers: its own, else the first of its name, else the first that waits."""
        by_id = [call for call in self._waiting if call_id and call[0] == call_id]
        by_name = [call for call in self._waiting if call[1] == name]
        for found in (by_id or by_name or ([] if call_id else self._waiting))[:1]:
            self._waiting.remove(found)
            return found[0]
        return call_id or "call_unknown"

    def _note_beside(self, part: _Fields, known: set[str]) -> None:
        """What stood beside media or a result and has no word of ours (`videoMetadata`, `scheduling`)."""
        for name in part.keys() - known:
            place = f"contents[].parts[].{name}"
            if place not in self._conversation.dropped:
                self._conversation.dropped.append(place)


_NOTHING = Text("")


def _same_seal(one: Reasoning, other: Reasoning) -> bool:
    return (one.signature, one.redacted) == (other.signature, other.redacted)


def _signature(part: _Fields, where: str) -> str:
    """In the standard alphabet, in which Google writes it; its Python SDK sends it back in the other."""
    return _text(part, "thoughtSignature", where).replace("-", "+").replace("_", "/")


def _add_text(text: str, thought: bool, sealed: Reasoning, parts: list[Part]) -> None:
    """Thought comes in pieces as a stream gave it, its signature last. A signature on other text stands before it as
    thought without text; on no text, alone.
    """
    if sealed.redacted:
        parts.append(sealed)
    elif thought:
        last = parts[-1] if parts else None
        if isinstance(last, Reasoning) and last.text and not last.signature:
            last.text += text
            last.signature, last.maker = sealed.signature, sealed.maker
        else:
            sealed.text = text
            parts.append(sealed)
    else:
        if sealed.signature:
            parts.append(sealed)
        if text or not sealed.signature:
            parts.append(Text(text))


def _media(part: _Fields, where: str) -> Part:
    if "inlineData" in part:
        where = f"{where}.inlineData"
        blob = _object(where, part["inlineData"])
        media_type = _text(blob, "mimeType", where)
        return media_part(media_type, Inline(media_type, _text(blob, "data", where)))
    where = f"{where}.fileData"
    file = _object(where, part["fileData"])
    return media_part(_text(file, "mimeType", where), file_source(_text(file, "fileUri", where)))


def _response(raw: Raw, where: str) -> tuple[list[Part], bool]:
    """(what a tool said, whether it failed). `output` and `error` are the API's names for the two; any other object is
    the result as a whole. https://ai.google.dev/api/caching#FunctionResponse (2026-11-22)
    """
    response: _Fields = decode_field(where, raw, _Fields)
    failed = response.keys() == {"error"}
    if not failed and response.keys() != {"output"}:
        return ([Text(bytes(raw).decode())] if response else []), False
    value = response["error" if failed else "output"]
    text = str(msgspec.json.decode(value)) if _begins(value, b'"') else bytes(value).decode()
    return ([Text(text)] if text else []), failed


def _system(raw: Raw, reader: _ContentReader) -> list[Part]:
    if _begins(raw, b'"'):
        return [Text(decode_field("systemInstruction", raw, str))]
    try:
        return reader.plain_system(_decode_plain(raw))
    except _NOT_PLAIN:
        return reader.parts(_object("systemInstruction", raw), "systemInstruction", [])


# --- generationConfig ----------------------------------------------------------------------------------------------


def _decode_settings(settings: _Fields, conversation: Conversation) -> None:
    for name, raw in settings.items():
        where = SETTING + name
        if name in PLAIN_SETTINGS:
            ours, kind = PLAIN_SETTINGS[name]
            setattr(conversation, ours, decode_field(where, raw, kind))
        elif name == "topK":  # a float to the protocol buffers
            conversation.top_k = int(decode_field(where, raw, float))
        elif name not in _SETTINGS_READ_APART and not (name == "responseModalities" and _text_alone(raw)):
            conversation.extra[where] = Raw(bytes(raw))
    if conversation.n < 1:
        raise BadRequest("generationConfig.candidateCount: expected at least 1", param=SETTING + "candidateCount")
    _decode_format(settings, conversation)
    if "thinkingConfig" in settings:
        conversation.reasoning = _thinking(_object(SETTING + "thinkingConfig", settings["thinkingConfig"]))


def _text_alone(modalities: Raw) -> bool:
    """What is so without being said."""
    return [str(name).upper() for name in decode_field(SETTING + "responseModalities", modalities, list[str])] == [
        "TEXT"
    ]


def _decode_format(settings: _Fields, conversation: Conversation) -> None:
    media_type = _text(settings, "responseMimeType", "generationConfig")
    schema: Raw | None = None
    for name in ("responseJsonSchema", "responseSchema"):
        if name in settings and schema is None:
            schema = _schema(settings[name], SETTING + name, plain=name == "responseJsonSchema")
    if media_type not in ("", "text/plain", "application/json"):  # text/x.enum
        conversation.extra[SETTING + "responseMimeType"] = Raw(bytes(settings["responseMimeType"]))
        if schema is not None:
            conversation.extra[SETTING + "responseJsonSchema"] = schema
    elif schema is not None:
        conversation.response_format = ResponseFormat("json_schema", schema=schema)
    elif media_type:
        conversation.response_format = ResponseFormat("json_object" if media_type == "application/json" else "text")


def _schema(raw: Raw, where: str, *, plain: bool) -> Raw:
    if plain:
        return Raw(bytes(raw))
    return Raw(msgspec.json.encode(json_schema(decode_field(where, raw, dict[str, Any]))))


def _thinking(config: _Fields) -> ReasoningOptions | None:
    where = SETTING + "thinkingConfig"
    shown = "includeThoughts" in config and decode_field(f"{where}.includeThoughts", config["includeThoughts"], bool)
    summary = "" if shown else "omitted"
    level = _text(config, "thinkingLevel", where).lower().replace("thinking_level_unspecified", "")
    budget: int | None = None
    if "thinkingBudget" in config:
        budget = decode_field(f"{where}.thinkingBudget", config["thinkingBudget"], int)
    if budget == 0:
        return ReasoningOptions("none")
    if budget is None and not level and not shown:
        return None
    adaptive = budget is not None and budget < 0
    return ReasoningOptions(level, None if adaptive else budget, adaptive, summary)


# --- tools ---------------------------------------------------------------------------------------------------------


def _read_tools(raw: Raw) -> tuple[list[Tool], list[str]]:
    """(the tools, what is left out of them). One of theirs declares many functions, and may name tools of Google's own beside
    them.
    """
    tools: list[Tool] = []
    left_out: list[str] = []
    for place, tool in enumerate(_listed("tools", raw)):
        where = f"tools[{place}]"
        for name, value in _object(where, tool).items():
            if name != "functionDeclarations":
                native = Raw(msgspec.json.encode({name: value}))
                search = WebSearch() if name in ("googleSearch", "googleSearchRetrieval") else None
                tools.append(Tool(name, native=native, dialect=NAME, search=search))
                continue
            for at, declaration in enumerate(_listed(f"{where}.{name}", value)):
                tools.append(_function(declaration, f"{where}.{name}[{at}]", left_out))
    return tools, left_out


_tools = Remembered(_read_tools, lambda made: len(made[0]))


def _function(raw: Raw, where: str, left_out: list[str]) -> Tool:
    given = _object(where, raw)
    parameters: Raw | None = None
    for name in ("parametersJsonSchema", "parameters"):
        if name in given and parameters is None:
            parameters = _schema(given[name], f"{where}.{name}", plain=name == "parametersJsonSchema")
    for name in ("response", "responseJsonSchema", "behavior"):
        place = f"tools[].functionDeclarations[].{name}"
        if name in given and place not in left_out:
            left_out.append(place)
    return Tool(_text(given, "name", where), _text(given, "description", where), parameters)


_CHOICES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}


def _decode_choice(raw: Raw, conversation: Conversation) -> None:
    """What no other dialect can say (several allowed names, `retrievalConfig`) is kept whole beside what it can."""
    config = _object("toolConfig", raw)
    beyond = bool(config.keys() - {"functionCallingConfig"})
    if "functionCallingConfig" in config:
        where = "toolConfig.functionCallingConfig"
        calling = _object(where, config["functionCallingConfig"])
        mode = _text(calling, "mode", where).upper()
        names: list[str] = []
        if "allowedFunctionNames" in calling:
            names = decode_field(f"{where}.allowedFunctionNames", calling["allowedFunctionNames"], list[str])
        if mode in _CHOICES:
            named = mode == "ANY" and len(names) == 1
            conversation.tool_choice = ToolChoice("named", names[0]) if named else ToolChoice(_CHOICES[mode])
            beyond = beyond or mode == "VALIDATED" or (bool(names) and not named)
        elif mode not in ("", "MODE_UNSPECIFIED"):
            raise BadRequest(f"{where}.mode: expected 'AUTO', 'ANY', 'NONE' or 'VALIDATED'", param=f"{where}.mode")
        beyond = beyond or "streamFunctionCallArguments" in calling
    if beyond:
        conversation.extra["toolConfig"] = Raw(bytes(raw))
