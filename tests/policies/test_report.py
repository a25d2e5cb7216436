from __future__ import annotations

import re
from pathlib import Path

import tollway
from tollway.ledger.record import CallRecord


def test_a_record_is_written_field_by_field_in_the_order_of_its_fields() -> None:
    """By position: a field added to the record in another place than the last would shift all that follow."""
    source = Path(tollway.__file__).with_name("policies").joinpath("report.py").read_text()
    source = source[source.index("def record_of(") : source.index("def _attempts(")]
    written = re.findall(r"^        (\S.*),(?:  # (\w+))?$", source[source.index("CallRecord(\n") :], re.MULTILINE)
    names = []
    for expression, comment in written:
        name = comment or re.sub(r"\[.*|\(.*| if .*| or .*", "", expression).split(".")[-1].lower()
        names.append(name)

    aliases = {
        "record_version": "version", "digest": "key", "reply_id": "request_id", "status": "status_code",
        "held": "held_nano", "streaming": "streamed", "retries_used": "retries",
        "fallbacks_used": "fallbacks", "_attempts": "attempts", "encode": "metadata", "get": "user_agent",
        "kept": "body_ref", "tuple": "charges", "": "",
    }  # fmt: skip
    assert [aliases.get(name, name) for name in names] == list(CallRecord.__struct_fields__)
