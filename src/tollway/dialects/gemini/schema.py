"""Google's older `Schema` (a subset of OpenAPI 3.0) as JSON Schema, which every other dialect speaks.

https://ai.google.dev/api/caching#Schema (2026-11-22). The other way round nothing is needed: `parametersJsonSchema`
and `responseJsonSchema` take JSON Schema as it is.
"""

from __future__ import annotations

from typing import Any

#: Whole numbers that the protocol buffers' JSON writes as text.
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_CAMEL = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
}


def json_schema(schema: Any) -> Any:
    """Types in lower case, `nullable` as a type, counts as numbers; the order of properties has no word there."""
    if not isinstance(schema, dict):
        return schema
    changed: dict[str, Any] = {}
    nullable = False
    for given_name, value in schema.items():
        name = str(_CAMEL.get(given_name, given_name))
        if name == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                changed["type"] = value.lower()
        elif name == "nullable":
            nullable = value is True
        elif name == "properties" and isinstance(value, dict):
            changed[name] = {key: json_schema(inner) for key, inner in value.items()}
        elif name == "items":
            changed[name] = json_schema(value)
        elif name == "anyOf" and isinstance(value, list):
            changed[name] = [json_schema(inner) for inner in value]
        elif name in _COUNTS and isinstance(value, str) and value.isdigit():
            changed[name] = int(value)
        elif name == "example":
            changed["examples"] = [value]
        elif name != "propertyOrdering":
            changed[name] = value
    return _with_null(changed) if nullable else changed


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema
