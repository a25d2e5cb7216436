"""The built pages: files under hashed names that browsers may keep for ever, and two documents that they may not.

`hatch_build.py` makes them; where they are missing, a page says how. Each file lies there compressed only, as `.br` and `.gz`.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import secrets
from html import escape
from pathlib import Path

from fastapi import Response
from fastapi.responses import HTMLResponse
from starlette.requests import Request

BUILT = Path(__file__).parent / "built"
NONCE_MARK = "TOLLWAY-NONCE"
_NAME = re.compile(r"\w[\w.-]{0,200}")
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
#: On answers that say who spent what.
NOT_KEPT = {"cache-control": "no-store"}
KEPT_FOR_EVER = "public, max-age=31536000, immutable"


def policy(nonce: str) -> str:
    """What a page of ours may load: its own files, and pictures that it holds already. Styles that components write while they
    run carry the nonce."""
    return (
        "default-src 'none'; script-src 'self'; connect-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
        f"media-src data: blob:; style-src 'self' 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def page(name: str, folder: Path = BUILT) -> Response | None:
    """A built document under a nonce of its own, or None where nothing was built."""
    try:
        text = await asyncio.to_thread((folder / name).read_text, "utf-8")
    except FileNotFoundError:
        return None
    nonce = secrets.token_urlsafe(16)
    headers = {**HEADERS, "content-security-policy": policy(nonce), "cache-control": "no-store"}
    return HTMLResponse(text.replace(NONCE_MARK, nonce), headers=headers)


async def file(name: str, request: Request, folder: Path = BUILT) -> Response | None:
    """A file of the pages in the best encoding that the client takes, or None for one that is not there."""
    kind = _TYPES.get(Path(name).suffix)
    if kind is None or _NAME.fullmatch(name) is None:
        return None
    accepted = {word.partition(";")[0].strip() for word in request.headers.get("accept-encoding", "").split(",")}
    encoding, suffix = next((one for one in _ENCODINGS if one[0] in accepted), ("", ".gz"))
    try:
        content = await asyncio.to_thread((folder / "assets" / (name + suffix)).read_bytes)
    except FileNotFoundError:
        return None
    # A text (the licences) keeps its name when it changes.
    kept = NOT_KEPT["cache-control"] if name.endswith(".txt") else KEPT_FOR_EVER
    headers = {**HEADERS, "cache-control": kept, "vary": "accept-encoding"}
    if encoding:
        headers["content-encoding"] = encoding
    else:
        content = await asyncio.to_thread(gzip.decompress, content)
    return Response(content, media_type=kind, headers=headers)


def not_built() -> Response:
    """What stands in the dashboard's place in a checkout that could not build it."""
    lines = (
        "This copy of Tollway runs without its dashboard: the pages were not built when it was installed.",
        "In a checkout, run `make ui` (it brings its own Node from the package index), then reload this page.",
        "Wheels from the package index hold the dashboard already. Everything else works as ever.",
    )
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    headers = {**HEADERS, "content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Tollway</title></head><body><h1>The dashboard is not built</h1>{body}</body></html>",
        503,
        headers={**headers, "cache-control": "no-store"},
    )
