from __future__ import annotations

import re
from pathlib import Path

import pytest

import tollway
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.ledger.record import CallRecord
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply


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


@pytest.mark.parametrize(
    ("believed", "forwarded", "written"),
    [
        (True, {"x-forwarded-for": "192.0.2.7, 198.51.100.1"}, "198.51.100.1"),
        (True, {}, "203.0.113.9"),
        (False, {"x-forwarded-for": "198.51.100.1"}, "203.0.113.9"),
    ],
)
async def test_a_row_says_who_called_and_believes_a_proxy_only_where_it_is_told_to(
    tmp_path: Path, believed: bool, forwarded: dict[str, str], written: str
) -> None:
    access = AccessSettings(master_key=Secret(MASTER_KEY), forwarded_for=believed)
    async with SmallGateway(tmp_path, config=Config(access=access)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(headers=forwarded)).status == 200
        (record,) = await gateway.records()
        assert record.client_ip == written
