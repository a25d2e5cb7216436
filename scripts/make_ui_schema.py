"""Writes `ui/schema.json`, from which the dashboard's types are made: the management API and the dashboard's own questions.

    python scripts/make_ui_schema.py

Both it and the types are made anew whenever they are wanted (`make ui-check`) and are not kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from tollway.admin import Office, schema
from tollway.admin.application import build_app
from tollway.admin.dashboard.application import build_dashboard
from tollway.admin.dashboard.sessions import Sessions
from tollway.app import operations
from tollway.dispatch import EXACT

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    # Building asks nothing of the office; only answering does.
    nobody = cast(Office, None)
    sessions = cast(Sessions, None)
    known = operations()
    document: dict[str, Any] = schema.document(
        build_app(nobody, sessions), {path: name for path, name in EXACT.items() if name in known}
    )
    own = schema.document(build_dashboard(nobody, sessions), {})
    document["paths"] |= own["paths"]
    document["components"]["schemas"] |= own["components"]["schemas"]
    (ROOT / "ui" / "schema.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
