from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.dialects.gemini.schema import clean_schema, json_schema


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"type": "STRING", "enum": ["a"], "format": "enum"}, {"type": "string", "enum": ["a"], "format": "enum"}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "INTEGER"}], "nullable": True}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (
            {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "2"},
            {"type": "array", "items": {"type": "number"}, "minItems": 2},
        ),
        (
            {
                "type": "OBJECT",
                "properties": {"type": {"type": "STRING", "nullable": False}},
                "propertyOrdering": ["type"],
            },
            {"type": "object", "properties": {"type": {"type": "string"}}},
        ),
        ({"type": "TYPE_UNSPECIFIED", "example": 1, "maxLength": 3}, {"examples": [1], "maxLength": 3}),
        (True, True),
    ],
)
def test_googles_schema_is_json_schema(schema: Any, plain: Any) -> None:
    assert json_schema(schema) == plain


@pytest.mark.parametrize(
    ("schema", "clean"),
    [
        ({"$schema": "https://json-schema.org/x", "type": "object"}, {"type": "object"}),
        ({"properties": {"kind": {"const": "a"}}}, {"properties": {"kind": {"enum": ["a"]}}}),
        (
            {"definitions": {"a": {"type": "string"}}, "items": {"$ref": "#/definitions/a"}},
            {"$defs": {"a": {"type": "string"}}, "items": {"$ref": "#/$defs/a"}},
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/a", "description": "d"}}, "$defs": {"a": {"const": 1}}},
            {
                "properties": {"a": {"anyOf": [{"$ref": "#/$defs/a"}], "description": "d"}},
                "$defs": {"a": {"enum": [1]}},
            },
        ),
        (
            {"properties": {"const": {"type": "string"}, "$ref": {"type": "string"}}, "enum": [{"const": 1}]},
            {"properties": {"const": {"type": "string"}, "$ref": {"type": "string"}}, "enum": [{"const": 1}]},
        ),
    ],
)
def test_what_google_refuses_of_a_json_schema_is_said_otherwise(schema: Any, clean: Any) -> None:
    assert msgspec.json.decode(clean_schema(Raw(msgspec.json.encode(schema)))) == clean


def test_a_clean_schema_keeps_its_bytes() -> None:
    schema = Raw(b'{ "type":"object", "additionalProperties":false }')
    assert clean_schema(schema) is schema
