"""fal's models of pictures, asked without a queue (https://docs.fal.ai/model-apis/model-endpoints/synchronous-requests,
2026-11-22).

The model is the path. Each has a schema of its own: what is not OpenAI's travels as it came. A picture's size is `image_size`, or
`aspect_ratio` where a model knows shapes alone; with `sync_mode` pictures come as data URLs instead of addresses.
"""

from __future__ import annotations

import re

from tollway.dialects.media import (
    Asked,
    Made,
    Picture,
    Sent,
    broken,
    json_body,
    nearest_ratio,
    object_in,
    pictures_made,
    refuse,
    size_of,
)
from tollway.errors import BadRequest

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9")
#: Models that know shapes and no sizes, by what their names hold.
_SHAPES = re.compile(r"ultra|kontext|nano-banana|imagen|gemini")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
#: OpenAI's fields that no model of fal's knows; the others are translated or its own.
_UNKNOWN = ("background", "moderation", "output_compression", "partial_images", "style", "user")
_PATH = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


class Generation:
    def encode(self, asked: Asked) -> Sent:
        if not _PATH.fullmatch(asked.model) or ".." in asked.model:
            raise BadRequest(f"The model {asked.model!r} is no path of fal's.", param="model")
        wanted = asked.text("response_format")
        if wanted not in ("", "url", "b64_json"):
            raise refuse("response_format", wanted, ("url", "b64_json"))
        quality_known = "gpt-image" in asked.model
        unknown = (*_UNKNOWN, *(() if quality_known else ("quality",)))
        dropped = [name for name in unknown if asked.fields.get(name) is not None]
        consumed = {"model", "n", "size", "response_format", "stream", *unknown}
        fields = {name: value for name, value in asked.fields.items() if name not in consumed}
        count = asked.number("n")
        fields["num_images"] = int(count) if count is not None else None
        if wanted == "b64_json":
            fields["sync_mode"] = True
        if (size := size_of(asked)) is not None:
            if _SHAPES.search(asked.model):
                fields.setdefault("aspect_ratio", nearest_ratio(size, RATIOS))
            elif quality_known:
                fields.setdefault("image_size", f"{size[0]}x{size[1]}")
            else:
                fields.setdefault("image_size", {"width": size[0], "height": size[1]})
        return Sent(json_body(fields), "application/json", f"/{asked.model}", dropped=dropped)

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        said = object_in(body, "pictures")
        listed = said.get("images") or [said.get("image")]
        pictures = []
        for one in listed if isinstance(listed, list) else ():
            url = one.get("url") if isinstance(one, dict) else None
            if not isinstance(url, str) or not url:
                raise broken(body, "pictures")
            data = _DATA_URL.match(url)
            pictures.append(Picture(b64_json=url[data.end() :]) if data else Picture(url=url))
        if not pictures:
            raise broken(body, "pictures")
        return pictures_made(asked, pictures)
