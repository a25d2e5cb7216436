"""The pages for a person with a browser. Nothing in them is loaded from anywhere else."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.requests import Request

from tollway.admin.border import office_of
from tollway.admin.dashboard import files

#: The pages' own paths, which the OpenAPI document leaves out.
PATHS = frozenset({"/", "/docs", "/openapi.json"})

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1d2430;background:#fdfdfb}"
    "h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem}a{color:#0b57a4}code{font:14px ui-monospace,monospace}"
    "table{border-collapse:collapse;width:100%}td{padding:.25rem .8rem .25rem 0;vertical-align:top;border-top:1px solid #e3e3dc}"
    "@media(prefers-color-scheme:dark){body{color:#e4e6ea;background:#15181d}a{color:#79b8ff}td{border-color:#2c3138}}"
)


async def front() -> Response:
    return _page(
        "Tollway",
        "<p>This is an LLM gateway: one address for every model API, with keys, budgets, exact costs and logs.</p>"
        "<table>"
        "<tr><td><code>POST /v1/chat/completions</code></td><td>Talk to a model; your key goes in the"
        " <code>Authorization</code> header.</td></tr>"
        '<tr><td><a href="/ui">/ui</a></td><td>The dashboard: spend, logs, keys, models, and a playground.</td></tr>'
        '<tr><td><a href="/docs">/docs</a></td><td>What else this address answers.</td></tr>'
        '<tr><td><a href="/openapi.json">/openapi.json</a></td><td>The same for programs.</td></tr>'
        '<tr><td><a href="/health/readiness">/health/readiness</a></td><td>Whether it is ready.</td></tr>'
        "</table>",
    )


async def docs(request: Request) -> Response:
    """The schema to read and to try; a plain table where the pages were not built."""
    return await files.page("docs.html", request.app.state.built) or _table(request)


def _table(request: Request) -> Response:
    rows = []
    for path, operations in _document(request)["paths"].items():
        for method, operation in operations.items():
            about = operation.get("description") or operation.get("summary") or ""
            rows.append(
                f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(about.partition(chr(10))[0])}"
                f"{_fields(operation)}</td></tr>"
            )
    return _page(
        "Tollway: the API",
        f'<p>The whole schema is at <a href="/openapi.json">/openapi.json</a>.</p><table>{"".join(rows)}</table>',
    )


async def openapi(request: Request) -> Response:
    return JSONResponse(_document(request))


def _document(request: Request) -> dict[str, Any]:
    app = request.app
    if app.openapi_schema is None:
        from tollway.admin import schema  # its many types are of use to nobody else

        app.openapi_schema = schema.document(app, office_of(request).call_paths)
    found: dict[str, Any] = app.openapi_schema
    return found


def _fields(operation: dict[str, Any]) -> str:
    names = [parameter["name"] for parameter in operation.get("parameters", ())]
    return f"<br><small>{escape(', '.join(names))}</small>" if names else ""


def _page(title: str, body: str) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>",
        headers=_HEADERS,
    )
