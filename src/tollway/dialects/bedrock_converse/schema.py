"""A reply's JSON schema as structured output takes it.

https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html (2026-11-22): objects are closed, and limits
on numbers, texts and lists are not known; those are told to the model in words.
"""

from __future__ import annotations

from typing import Any

import msgspec

_UNKNOWN_LIMITS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
    }
)
_OF_SCHEMAS = frozenset({"properties", "$defs", "definitions"})
_OF_VALUES = frozenset({"enum", "const", "default", "examples"})


def strict_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed: dict[str, Any] = {}
    told: list[str] = []
    for name, value in schema.items():
        if name in _OF_SCHEMAS and isinstance(value, dict):
            changed[name] = {key: strict_schema(inner) for key, inner in value.items()}
        elif name in _UNKNOWN_LIMITS or (name == "minItems" and value not in (0, 1)):
            told.append(f"{name}: {msgspec.json.encode(value).decode()}")
        else:
            changed[name] = value if name in _OF_VALUES else strict_schema(value)
    if changed.get("type") == "object" or "properties" in changed:
        changed["additionalProperties"] = False
    if told:
        changed["description"] = " ".join(filter(None, [changed.get("description"), f"({', '.join(told)})"]))
    return changed
