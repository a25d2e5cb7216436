"""Stability AI's pictures (https://platform.stability.ai/docs/api-reference#tag/Generate, 2026-11-22).

Each kind of picture is a path of its own that takes a form: `generate/core`, `generate/ultra` and `generate/sd3` (which names
one of its models), and the changes of a picture, `edit/inpaint`, `edit/search-and-replace` and others. One picture a call; it
comes as base64 in JSON, so that what was found unfit is told.
"""

from __future__ import annotations

from typing import Any

from tollway.dialects.media import (
    Asked,
    Made,
    Picture,
    Sent,
    broken,
    form_body,
    nearest_ratio,
    object_in,
    one_picture,
    pictures_made,
    refuse,
    size_of,
)
from tollway.errors import BadRequest, ContentPolicyViolation

RATIOS = ("1:1", "16:9", "9:16", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")
FORMATS = ("png", "jpeg", "webp")
_ACCEPT = ((b"accept", b"application/json"),)
#: What a model's name, as the price lists have it, means in the path.
GENERATE = {"stable-image-core": "core", "stable-image-ultra": "ultra", "core": "core", "ultra": "ultra"}
EDITS = frozenset({"erase", "inpaint", "outpaint", "remove-background", "search-and-recolor", "search-and-replace"})
CONTROLS = frozenset({"sketch", "structure", "style"})
UPSCALES = frozenset({"conservative", "fast"})
#: These take no words.
WORDLESS = frozenset({"erase", "fast", "remove-background"})
#: Its own fields, which may be sent beside OpenAI's.
OWN = (
    "control_strength",
    "down",
    "fidelity",
    "grow_mask",
    "left",
    "mode",
    "negative_prompt",
    "right",
    "search_prompt",
    "seed",
    "select_prompt",
    "strength",
    "style_preset",
    "up",
)
#: How far a picture that is given is left behind where nobody says; it must be said there.
STRENGTH_DEFAULT = 0.7


class Generation:
    def encode(self, asked: Asked) -> Sent:
        one_picture(asked)
        fields = _fields(asked)
        size = size_of(asked)
        fields["aspect_ratio"] = asked.fields.get("aspect_ratio") or (nearest_ratio(size, RATIOS) if size else None)
        path = GENERATE.get(asked.model)
        if path is None:
            path, fields["model"] = "sd3", _stable_diffusion(asked.model)
        return _sent(asked, f"/generate/{path}", fields, [], ("size", "aspect_ratio"))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        return _made(asked, body)


class Edit:
    def encode(self, asked: Asked) -> Sent:
        one_picture(asked)
        fields = _fields(asked)
        model = asked.model
        files = [("image", "image", _image(asked, "image"))]
        if any(file.field == "mask" for file in asked.files):
            files.append(("mask", "mask", _image(asked, "mask")))
        if model in WORDLESS:
            fields["prompt"] = None
        if model in EDITS:
            path = f"/edit/{model}"
        elif model in CONTROLS:
            path = f"/control/{model}"
        elif model in UPSCALES:
            path = f"/upscale/{model}"
        elif GENERATE.get(model) == "ultra":
            path = "/generate/ultra"
            fields.setdefault("strength", STRENGTH_DEFAULT)
        else:
            path = "/generate/sd3"
            fields["model"], fields["mode"] = _stable_diffusion(model), "image-to-image"
            fields.setdefault("strength", STRENGTH_DEFAULT)
        if len(files) > 1 and path.startswith("/generate"):
            raise BadRequest(f"The model {model!r} takes no mask; inpaint does.", param="mask")
        return _sent(asked, path, fields, files, ("image", "mask"))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        return _made(asked, body)


def _stable_diffusion(model: str) -> str:
    """Raises BadRequest for a model that does other work, or does it in the background."""
    if not model.startswith("sd3"):
        raise BadRequest(f"The model {model!r} of Stability AI's does not do this.", param="model")
    return model


def _fields(asked: Asked) -> dict[str, Any]:
    wanted = asked.text("output_format") or None
    if wanted is not None and wanted not in FORMATS:
        raise refuse("output_format", wanted, FORMATS)
    own = {name: asked.fields[name] for name in OWN if asked.fields.get(name) is not None}
    return {"prompt": asked.text("prompt") or None, "output_format": wanted, **own}


def _sent(
    asked: Asked, path: str, fields: dict[str, Any], files: list[tuple[str, str, bytes]], also: tuple[str, ...]
) -> Sent:
    # Even a form without a file must be a form.
    body, content_type = form_body(fields, files)
    told = asked.without(("prompt", "n", "response_format", "output_format", *also, *OWN))
    if asked.text("response_format") == "url":
        told.append("response_format")  # there are no addresses: pictures come as base64
    return Sent(body, content_type, path, _ACCEPT, told)


def _image(asked: Asked, field: str) -> bytes:
    found = [file.data for file in asked.files if file.field == field]
    if len(found) != 1:
        raise BadRequest(f"This model takes one {field} as a file of a form, not {len(found)}.", param=field)
    return found[0]


def _made(asked: Asked, body: bytes) -> Made:
    said = object_in(body, "a picture")
    if said.get("finish_reason") == "CONTENT_FILTERED":
        raise ContentPolicyViolation(
            "The provider found the picture unfit to be shown.", code="content_policy_violation"
        )
    image = said.get("image")
    if not isinstance(image, str) or not image:
        raise broken(body, "a picture")
    return pictures_made(asked, [Picture(b64_json=image)])
