from __future__ import annotations

from typing import Any

import pytest

from tollway.dialects.gemini.schema import json_schema


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
