"""Google's older `Schema` (a subset of OpenAPI 3.0) as JSON Schema, which every other dialect speaks.

https://ai.google.dev/api/caching#Schema (2026-11-22). The other way round little is needed: `parametersJsonSchema`
and `responseJsonSchema` take JSON Schema and pass over the keywords they do not know, but for a few (`clean_schema`).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

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


# --- for Google ----------------------------------------------------------------------------------------------------

#: In what must be cleaned, in the order in which it is found soonest that there is nothing.
_UNCLEAN = (b'"$', b'"definitions"', b'"const"')
#: Values that are schemas, lists of them, and mappings to them: nowhere else is a key a keyword.
_SCHEMAS = frozenset({"items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPPINGS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def clean_schema(schema: Raw) -> Raw:
    """A JSON schema without what Google refuses: `$ref` beside other keywords, `$schema`, and references to anywhere
    but `$defs`; `const`, which it passes over, is said as an `enum` of one.
    https://ai.google.dev/api/generate-content#GenerationConfig, https://github.com/anomalyco/opencode/issues/12295
    (2026-02-05)
    """
    text = bytes(schema)
    for mark in _UNCLEAN:
        if text.rfind(mark) >= 0:  # from behind it is searched twice as quickly
            break
    else:
        return schema
    return Raw(msgspec.json.encode(_cleaned(msgspec.json.decode(schema))))


def _cleaned(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_cleaned(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$schema":
            continue
        if name == "const" and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            changed["enum"] = [value]
        elif name in _MAPPINGS and isinstance(value, dict):
            named = {key: _cleaned(inner) for key, inner in value.items()}
            place = "$defs" if name == "definitions" else name
            changed[place] = {**changed.get(place, {}), **named}
        elif name in _SCHEMAS or name in _LISTS:
            changed[name] = _cleaned(value)
        else:
            changed[name] = value
    reference = changed.get("$ref")
    if isinstance(reference, str):
        return _referring(changed, reference.replace("#/definitions/", "#/$defs/"))
    return changed


def _referring(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    """`$ref` alone; where other keywords stand beside it, as the one choice of an `anyOf`."""
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    beside = {name: value for name, value in rest.items() if not name.startswith("$")}
    if not beside:
        return {"$ref": reference, **rest}
    return {"anyOf": [{"$ref": reference}], **rest} if "anyOf" not in rest else {**rest, "allOf": [{"$ref": reference}]}
