"""Replicate's models of pictures. https://replicate.com/collections/text-to-image (2026-11-22)

Each has a schema of its own: what is not OpenAI's travels as it came. Pictures come as addresses at `replicate.delivery`, which
last an hour, and are handed on as they are.
"""

from __future__ import annotations

import re
from typing import Any

from tollway.dialects.media import (
    Asked,
    Made,
    Picture,
    Sent,
    broken,
    json_body,
    nearest_ratio,
    one_picture,
    pictures_made,
    refuse,
    size_of,
)
from tollway.dialects.replicate.predictions import WAIT_S, Looked, read_prediction, version_of

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
OPENAI_RATIOS = ("1:1", "3:2", "2:3")
#: Makers whose models know shapes and no sizes.
_SHAPES = re.compile(
    r"(?:black-forest-labs|bytedance|google|ideogram-ai|luma|minimax|qwen|stability-ai/stable-diffusion-3|prunaai)"
)
#: Models that make more than one picture a call, and what they call their number.
_NUMBERS = (
    (re.compile(r"openai/gpt-image"), "number_of_images"),
    (re.compile(r"black-forest-labs/flux-(?:schnell|dev)|.*sdxl|stability-ai/stable-diffusion(?!-3)"), "num_outputs"),
)
#: OpenAI's fields that its own models alone know here.
_OPENAI = ("background", "moderation", "output_compression", "quality")
_UNKNOWN = ("partial_images", "style", "user")


class Generation(Looked):
    """`asked.model` is `owner/name`, with or without a version."""

    def encode(self, asked: Asked) -> Sent:
        if (answer := asked.text("response_format")) not in ("", "url"):
            raise refuse("response_format", answer, ("url",))
        openai = asked.model.startswith("openai/")
        unknown = _UNKNOWN if openai else (*_UNKNOWN, *_OPENAI)
        consumed = {"model", "n", "size", "response_format", "stream", *unknown}
        fields = {name: value for name, value in asked.fields.items() if name not in consumed}
        self._put_number(asked, fields)
        self._put_size(asked, fields, openai=openai)
        dropped = [name for name in unknown if asked.fields.get(name) is not None]
        headers = ((b"prefer", b"wait=%d" % WAIT_S),)
        body = json_body({"version": version_of(asked.model) or None, "input": fields})
        return Sent(body, "application/json", headers=headers, dropped=dropped)

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        output = read_prediction(body).output
        listed = output if isinstance(output, list) else [output]
        urls = [url for url in listed if isinstance(url, str) and url.startswith(("https://", "http://", "data:"))]
        if not urls:
            raise broken(body, "a picture")
        return pictures_made(asked, [Picture(url=url) for url in urls])

    def _put_number(self, asked: Asked, fields: dict[str, Any]) -> None:
        name = next((name for pattern, name in _NUMBERS if pattern.match(asked.model)), "")
        if not name:
            one_picture(asked)
        elif (count := asked.number("n")) is not None:
            fields[name] = int(count)

    def _put_size(self, asked: Asked, fields: dict[str, Any], *, openai: bool) -> None:
        if (size := size_of(asked)) is None:
            return
        if asked.model.startswith("recraft-ai/"):
            fields["size"] = f"{size[0]}x{size[1]}"
        elif openai:
            fields.setdefault("aspect_ratio", nearest_ratio(size, OPENAI_RATIOS))
        elif _SHAPES.match(asked.model):
            fields.setdefault("aspect_ratio", nearest_ratio(size, RATIOS))
        else:
            fields.setdefault("width", size[0])
            fields.setdefault("height", size[1])
