"""Perplexity's Agent API (https://docs.perplexity.ai/docs/agent-api/quickstart, 2026-11-22), which speaks OpenAI's Responses.

Its chat completions were supported until 2026-09-27 (https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview), so
their models are asked for here by the names that Perplexity gives for them. Quirks: a field that it does not know is an error; a
reply's shape is `response_format`; a search's bounds are called otherwise; Anthropic's models want an output limit. A preset is no
model (https://github.com/perplexityai/api-platform-developers, `migrate-sonar-to-agent-api/references`, 2026-11-22).
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, json

from tollway.providers import Introduction, drop_fields, text_of
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Perplexity",
    docs="https://docs.perplexity.ai/docs/agent-api/quickstart",
    base_url="https://api.perplexity.ai",
    base_url_env=("PERPLEXITY_API_BASE",),
    base_url_end="/v1",
    key_env=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    operations=("chat",),
)
SONAR = "perplexity/sonar"
#: What became of the models of its chat completions, and of the presets' former names.
HEIRS = {
    "sonar": SONAR,
    "sonar-pro": SONAR,
    "sonar-reasoning": "preset/low",
    "sonar-reasoning-pro": "preset/low",
    "sonar-deep-research": "preset/medium",
}
#: Everything that a request may hold.
KNOWN = frozenset(
    {
        "background",
        "input",
        "instructions",
        "language_preference",
        "max_output_tokens",
        "max_steps",
        "max_tool_calls",
        "metadata",
        "model",
        "models",
        "parallel_tool_calls",
        "preset",
        "previous_response_id",
        "profile",
        "reasoning",
        "response_format",
        "skills",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "truncation",
    }
)
#: What its chat completions were told beside the messages, and stands now in the tool that searches, or in that one's filters.
_OF_THE_TOOL = {"num_search_results": "max_results", "search_context_size": "search_context_size"}
_FILTERS = (
    "search_domain_filter",
    "search_recency_filter",
    "search_after_date_filter",
    "search_before_date_filter",
    "last_updated_after_filter",
    "last_updated_before_filter",
)
SEARCH_FIELDS = frozenset({*_OF_THE_TOOL, *_FILTERS, "disable_search"})
#: What a client of any dialect may send along.
OWN_FIELDS = SEARCH_FIELDS | {"language_preference", "max_steps", "max_tool_calls"}
SEALED_THOUGHT = "reasoning.encrypted_content"
#: What Anthropic's models may write where nobody says.
OUTPUT_TOKENS_USUAL = 4096


class Perplexity(OpenAICompatible):
    dialect = "openai_responses"
    adapts_all = True
    own_fields = OWN_FIELDS

    def __init__(self) -> None:
        super().__init__("perplexity", INTRODUCTION)

    def path(self, operation: str, model: str) -> str | None:
        return "/responses" if operation == "chat" else None

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return "/responses"

    def model_name(self, model: str) -> str:
        return HEIRS.get(model, model)

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        dropped: list[str] = []
        self._shape_reply(fields, dropped)
        self._search(fields, dropped)
        self._think(fields, dropped)
        model = text_of(fields.get("model"))
        if model.startswith("preset/"):
            del fields["model"]
            fields["preset"] = model.removeprefix("preset/")
        elif model.startswith("anthropic/"):
            fields.setdefault("max_output_tokens", OUTPUT_TOKENS_USUAL)
        if _plain(fields.get("include")) == [SEALED_THOUGHT]:
            del fields["include"]  # asked by ourselves: thought is not given back here
        return [*dropped, *drop_fields(fields, sorted(fields.keys() - KNOWN))]

    def _shape_reply(self, fields: dict[str, Any], dropped: list[str]) -> None:
        """OpenAI's `text.format`, here as chat completions have it."""
        text = _plain(fields.pop("text", None))
        if not isinstance(text, dict):
            return
        dropped += [f"text.{name}" for name, value in text.items() if name != "format" and value is not None]
        form = _plain(text.get("format"))
        if isinstance(form, dict) and form.get("type") == "json_schema":
            schema = {name: value for name, value in form.items() if name != "type" and value is not None}
            fields.setdefault("response_format", {"type": "json_schema", "json_schema": schema})
        elif isinstance(form, dict) and form.get("type") != "text":
            dropped.append("response_format")

    def _search(self, fields: dict[str, Any], dropped: list[str]) -> None:
        """Sonar searches unless it is given tools or told not to, as it always did."""
        told = {name: _plain(fields.pop(name)) for name in sorted(SEARCH_FIELDS & fields.keys())}
        tools = _plain(fields.get("tools"))
        tools = [_plain(tool) for tool in tools] if isinstance(tools, list) else []
        off = told.pop("disable_search", False) is True or _plain(fields.get("tool_choice")) == "none"
        if not tools and not off and (told or text_of(fields.get("model")) == SONAR):
            tools = [{"type": "web_search"}]
        if not tools:
            dropped += told
            return
        searching = False
        for at, tool in enumerate(tools):
            if isinstance(tool, dict) and str(tool.get("type")).startswith("web_search"):
                tools[at] = _search_tool(tool, {} if searching else told, dropped)
                searching = True
        if not searching:
            dropped += told
        fields["tools"] = tools

    def _think(self, fields: dict[str, Any], dropped: list[str]) -> None:
        reasoning = _plain(fields.pop("reasoning", None))
        if not isinstance(reasoning, dict):
            return
        dropped += [f"reasoning.{name}" for name, value in reasoning.items() if name != "effort" and value is not None]
        effort = reasoning.get("effort")
        if effort == "none":
            dropped.append("reasoning.effort")
        elif effort is not None:
            fields["reasoning"] = {"effort": effort}


def _search_tool(tool: dict[str, Any], told: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    """OpenAI's tool, and the bounds that were `told` beside it, in Perplexity's words."""
    written: dict[str, Any] = {"type": "web_search"}
    for name, raw in tool.items():
        value = _plain(raw)
        if name == "filters" and isinstance(value, dict):
            filters = {name: _plain(one) for name, one in value.items()}
            if (domains := filters.pop("allowed_domains", None)) is not None:
                filters.setdefault("search_domain_filter", domains)
            written["filters"] = filters
        elif name == "user_location" and isinstance(value, dict):
            written[name] = {part: at for part, at in value.items() if part not in ("type", "timezone")}
            if value.get("timezone"):
                dropped.append("tools[web_search].user_location.timezone")
        elif name in ("search_context_size", "max_results", "max_tokens", "max_tokens_per_page"):
            written[name] = value
        elif name != "type":
            dropped.append(f"tools[web_search].{name}")
    for name, value in told.items():
        if name in _OF_THE_TOOL:
            written.setdefault(_OF_THE_TOOL[name], value)
        else:
            written.setdefault("filters", {}).setdefault(name, value)
    return written


def _plain(value: Any) -> Any:
    return json.decode(value) if isinstance(value, Raw) and bytes(value) else value
