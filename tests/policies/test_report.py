from __future__ import annotations

import inspect
import re

from tollway.ledger.record import CallRecord
from tollway.policies.report import record_of


def test_a_record_is_written_field_by_field_in_the_order_of_its_fields() -> None:
    """By position: a field added to the record in another place than the last would shift all that follow."""
    source = inspect.getsource(record_of)
    written = re.findall(r"^        (\S.*),(?:  # (\w+))?$", source[source.index("CallRecord(\n") :], re.MULTILINE)
    names = []
    for expression, comment in written:
        name = comment or re.sub(r"\[.*|\(.*| if .*| or .*", "", expression).split(".")[-1].lower()
        names.append(name)

    aliases = {
        "record_version": "version", "digest": "key", "id": "deployment_id", "name": "provider", "status": "status_code",
        "message": "error_message", "held": "held_nano", "streaming": "streamed", "retries_used": "retries",
        "fallbacks_used": "fallbacks", "_attempts": "attempts", "(*key": "tags", "tags, *call": "tags",
        "encode": "metadata", "kept": "body_ref", "tuple": "charges", "": "tags",
    }  # fmt: skip
    assert [aliases.get(name, name) for name in names] == list(CallRecord.__struct_fields__)
