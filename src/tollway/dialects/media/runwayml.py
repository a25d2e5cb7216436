"""Runway's pictures (https://docs.dev.runwayml.com/api/#tag/Start-generating/paths/~1v1~1text_to_image/post, 2026-11-22).

A picture is a task, looked after at `/v1/tasks/{id}`; it has one of a list of sizes (`ratio`). Its address stands at another
company's host, and is handed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tollway.dialects.media import (
    Asked,
    Made,
    Picture,
    Sent,
    Step,
    broken,
    json_body,
    object_in,
    one_picture,
    pictures_made,
    refuse,
    size_of,
)
from tollway.errors import ContentPolicyViolation, UpstreamFailed

RATIOS = (
    "1024:1024",
    "1080:1080",
    "1168:880",
    "1360:768",
    "1440:1080",
    "1080:1440",
    "1808:768",
    "1920:1080",
    "1080:1920",
    "2112:912",
    "1280:720",
    "720:1280",
    "720:720",
    "960:720",
    "720:960",
    "1680:720",
)  # fmt: skip
RATIO_DEFAULT = "1024:1024"
OWN = ("contentModeration", "ratio", "referenceImages", "seed")
WAITING = frozenset({"PENDING", "THROTTLED", "RUNNING"})
_TASK = re.compile(r"[A-Za-z0-9-]{1,64}")


class Generation:
    hosts = ()

    def encode(self, asked: Asked) -> Sent:
        one_picture(asked)
        if (answer := asked.text("response_format")) not in ("", "url"):
            raise refuse("response_format", answer, ("url",))
        size = size_of(asked)
        fields: dict[str, Any] = {
            "model": asked.model,
            "promptText": asked.text("prompt"),
            "ratio": _nearest(size, RATIOS) if size else RATIO_DEFAULT,
            **{name: asked.fields[name] for name in OWN if asked.fields.get(name) is not None},
        }
        known = ("prompt", "n", "response_format", "size", *OWN)
        return Sent(json_body(fields), "application/json", dropped=asked.without(known))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        output = object_in(body, "a picture").get("output")
        urls = [url for url in output if isinstance(url, str)] if isinstance(output, list) else []
        if not urls:
            raise broken(body, "a picture")
        return pictures_made(asked, [Picture(url=url) for url in urls])

    def next_step(self, asked: Asked, content_type: bytes, body: bytes) -> Step | None:
        said = object_in(body, "a task")
        task, status = said.get("id"), said.get("status")
        if status == "SUCCEEDED":
            return None
        if status is not None and status not in WAITING:
            told = said.get("failure")
            message = (
                told[:300]
                if isinstance(told, str) and told
                else f"The provider's work ended with {str(status)[:60]!r}."
            )
            if str(said.get("failureCode")).startswith("SAFETY"):
                raise ContentPolicyViolation(message, code="content_policy_violation")
            raise UpstreamFailed(message)
        if not isinstance(task, str) or not _TASK.fullmatch(task):
            raise broken(body, "a task")
        return Step(f"/v1/tasks/{task}")


def _nearest(size: tuple[int, int], known: Sequence[str]) -> str:
    """The one that is nearest in both sides."""

    def distance(ratio: str) -> int:
        width, _, height = ratio.partition(":")
        return abs(int(width) - size[0]) + abs(int(height) - size[1])

    return min(known, key=distance)
