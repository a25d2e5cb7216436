"""Black Forest Labs' FLUX (https://docs.bfl.ai/api_integration/integration_guidelines, 2026-11-22).

A model is a path. It answers with a ticket and the address where to ask for the picture, at a host near where it is made; the
picture's own address is good for ten minutes. Older models take a width and a height, those that change pictures and the ultra one
a shape.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from tollway.dialects.media import (
    Asked,
    Made,
    Picture,
    Sent,
    Step,
    broken,
    json_body,
    nearest_ratio,
    object_in,
    one_picture,
    picture_of,
    pictures_made,
    refuse,
    size_of,
)
from tollway.errors import BadRequest, ContentPolicyViolation, UpstreamFailed

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21")
#: OpenAI's formats in its own words.
FORMATS = {"jpeg": "jpeg", "png": "png"}
_SHAPES = re.compile(r"ultra|kontext")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
#: Its own fields, which may be sent beside OpenAI's.
OWN = (
    "aspect_ratio",
    "bottom",
    "guidance",
    "height",
    "image_prompt",
    "image_prompt_strength",
    "left",
    "prompt_upsampling",
    "raw",
    "right",
    "safety_tolerance",
    "seed",
    "steps",
    "top",
    "width",
)
#: Sides are multiples of this, within these bounds (https://docs.bfl.ai/flux_models/flux_1_1_pro, 2026-11-22).
SIDE_STEP, SIDE_MIN, SIDE_MAX = 32, 256, 1440
WAITING = frozenset({"Pending", "Processing", "Queued", "Task queued"})
UNFIT = frozenset({"Request Moderated", "Content Moderated"})


class _Wire:
    hosts = (".bfl.ai",)

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        if content_type.startswith(b"image/"):
            return pictures_made(asked, [picture_of(body)])
        address = _address_in(body)
        if address is None:
            raise broken(body, "a picture")
        return pictures_made(asked, [Picture(url=address)])

    def next_step(self, asked: Asked, content_type: bytes, body: bytes) -> Step | None:
        if content_type.startswith(b"image/"):
            return None
        said = object_in(body, "a ticket")
        status = said.get("status")
        if status is None and isinstance(said.get("polling_url"), str):
            asked.fields["polling_url"] = said["polling_url"]
        elif status == "Ready":
            wanted = asked.text("response_format") == "b64_json"
            address = _address_in(body)
            return Step(address, waits=False, greets=False) if wanted and address else None
        elif status in UNFIT:
            raise ContentPolicyViolation(f"The provider says: {status}.", code="content_policy_violation")
        elif status not in WAITING:
            raise UpstreamFailed(f"The provider's work ended with {str(status)[:60]!r}.")
        target = asked.fields.get("polling_url")
        if not isinstance(target, str):
            raise broken(body, "a ticket")
        return Step(target)


class Generation(_Wire):
    def encode(self, asked: Asked) -> Sent:
        return _sent(asked, {}, ("size",))


class Edit(_Wire):
    def encode(self, asked: Asked) -> Sent:
        images = [base64.b64encode(file.data).decode("ascii") for file in asked.files if file.field == "image"]
        masks = [base64.b64encode(file.data).decode("ascii") for file in asked.files if file.field == "mask"]
        if len(images) != 1 or len(masks) > 1:
            raise BadRequest(f"This model takes one image as a file of a form, not {len(images)}.", param="image")
        fills = "fill" in asked.model or "expand" in asked.model
        if masks and "fill" not in asked.model:
            raise BadRequest(f"The model {asked.model!r} takes no mask; flux-pro-1.0-fill does.", param="mask")
        pictures: dict[str, Any] = {"image" if fills else "input_image": images[0]}
        if masks:
            pictures["mask"] = masks[0]
        return _sent(asked, pictures, ("size", "image", "mask"))


def _sent(asked: Asked, pictures: dict[str, Any], also: tuple[str, ...]) -> Sent:
    one_picture(asked)
    if not _NAME.fullmatch(asked.model):
        raise BadRequest(f"The model {asked.model!r} is no name of Black Forest Labs'.", param="model")
    answer = asked.text("response_format")
    if answer not in ("", "url", "b64_json"):
        raise refuse("response_format", answer, ("url", "b64_json"))
    format_ = asked.text("output_format")
    if format_ and format_ not in FORMATS:
        raise refuse("output_format", format_, FORMATS)
    fields: dict[str, Any] = {"prompt": asked.text("prompt"), **pictures}
    fields["output_format"] = FORMATS.get(format_)
    if (size := size_of(asked)) is not None:
        if _SHAPES.search(asked.model):
            fields["aspect_ratio"] = nearest_ratio(size, RATIOS)
        else:
            fields["width"], fields["height"] = (_side(length) for length in size)
    fields |= {name: _plain(asked.fields[name]) for name in OWN if asked.fields.get(name) is not None}
    known = ("prompt", "n", "response_format", "output_format", *also, *OWN)
    return Sent(json_body(fields), "application/json", f"/{asked.model}", dropped=asked.without(known))


def _side(length: int) -> int:
    return max(SIDE_MIN, min(SIDE_MAX, round(length / SIDE_STEP) * SIDE_STEP))


def _plain(value: Any) -> Any:
    """A form's numbers come as text."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value):
        return int(value)
    return value


def _address_in(body: bytes) -> str | None:
    result = object_in(body, "a picture").get("result")
    sample = result.get("sample") if isinstance(result, dict) else None
    return sample if isinstance(sample, str) and sample else None
