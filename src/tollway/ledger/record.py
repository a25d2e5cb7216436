"""What is done to a finished call's record before it is written: what clients made too long goes, and so do keys.

The record itself is `tollway.storage.record`: the journal and the storage keep the same bytes.
"""

from __future__ import annotations

import re

from msgspec import structs

from tollway.storage.record import (
    RECORD_VERSION,
    AttemptRecord,
    BodyRef,
    CallRecord,
    decode_record,
    encode_record,
)

__all__ = [
    "ERROR_MESSAGE_CHARACTERS_MAX",
    "KEY_MARK",
    "RECORD_VERSION",
    "AttemptRecord",
    "BodyRef",
    "CallRecord",
    "decode_record",
    "encode_record",
    "mask_keys",
    "shorten_record",
]

NAME_CHARACTERS_MAX = 200
#: How every key of ours and of most providers begins; `mask_keys` looks closer.
KEY_MARK = b"sk-"
_KEY = re.compile(r"\bsk-[\w\-]{8,}")
_KEY_IN_BYTES = re.compile(rb"\bsk-[\w\-]{8,}")
ERROR_MESSAGE_CHARACTERS_MAX = 500


def shorten_record(record: CallRecord) -> CallRecord:
    """Without metadata and tags, its names cut: what is charged to whom stays whole."""
    names = {
        name: value[:NAME_CHARACTERS_MAX]
        for name in ("end_user", "path", "model", "model_group", "request_id", "session_id", "provider_model")
        if (value := getattr(record, name)) is not None
    }
    return structs.replace(record, metadata=b"", tags=(), **names)


def mask_keys(record: CallRecord) -> CallRecord:
    """Without the keys that clients put where they do not belong: into names, tags, metadata or their user agent."""
    masked: dict[str, object] = {
        name: _KEY.sub("sk-***", value)
        for name in CallRecord.__struct_fields__
        if isinstance(value := getattr(record, name), str) and "sk-" in value
    }
    return structs.replace(
        record,
        tags=tuple(_KEY.sub("sk-***", tag) for tag in record.tags),
        metadata=_KEY_IN_BYTES.sub(b"sk-***", record.metadata),
        **masked,
    )
