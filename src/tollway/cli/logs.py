"""Where the process's own log lines go: stderr, as text or as one JSON object a line.

These are the few lines about the gateway itself. Calls are told by exporters, never by `logging`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from tollway.config.settings import LogSettings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """`{"timestamp", "level", "component", "message"}`, and `stacktrace` where something was raised. Times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "component": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(logs: LogSettings) -> None:
    """Replaces whatever handlers there are. uvicorn's own chatter is shown from warnings up."""
    stderr = logging.StreamHandler()
    stderr.setFormatter(JsonLines() if logs.json else logging.Formatter(_TEXT))
    logging.basicConfig(level=logs.level.upper(), handlers=[stderr], force=True)
    for chatty in ("uvicorn", "uvicorn.error", "asyncio", "aiosqlite"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
