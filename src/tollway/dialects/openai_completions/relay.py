"""Text completions in, text completions out: the bytes pass, as those of a chat do; a `text` of null becomes an empty
one, which is what clients add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tollway.calls import Usage
from tollway.dialects.openai_chat import relay as chat

#: A quote inside a JSON text is escaped, so this is a member and no text.
_NO_TEXT = re.compile(rb'("text":\s*)null')


class PassRelay(chat.PassRelay):
    """A stream of this dialect, relayed. See `tollway.dialects.Relay`."""

    __slots__ = ()
    _chunk_kind = "text_completion"
    _last_delta: Mapping[str, Any] = {"text": ""}

    def _relay(self, event: bytes, passed: list[bytes]) -> None:
        if b'"text":null' in event or b'"text": null' in event:
            event = _NO_TEXT.sub(rb'\1""', event)
        super()._relay(event, passed)


def rename_reply(body: bytes, new_model: str) -> tuple[bytes, Usage | None, str]:
    """A whole JSON reply with our name for its model, the usage in it, and its id. Raises UpstreamBroken, and the
    provider's error where a reply with status 200 is one.
    """
    body, usage, reply_id = chat.rename_reply(body, new_model)
    return _NO_TEXT.sub(rb'\1""', body) if b"null" in body else body, usage, reply_id
