from __future__ import annotations

import pytest
from msgspec import msgpack

from tollway.calls import Cost, Usage
from tollway.ledger.record import AttemptRecord, BodyRef, CallRecord, decode_record, encode_record


def test_a_record_comes_back_as_it_was_written() -> None:
    record = CallRecord(
        epoch=1 << 59,
        seq=2,
        started_us=3,
        ended_us=4,
        key=b"\x00" * 32,
        usage=Usage(input=5),
        cost=Cost(total=6),
        attempts=(AttemptRecord("d", "p", 200, 7, 8),),
        tags=("a",),
        metadata=b'{"a":1}',
        body_ref=BodyRef(1, 2, 3),
        charges=(("key", "00", 0, 6),),
    )
    assert decode_record(encode_record(record)) == record


def test_a_record_of_an_older_program_without_the_last_fields_can_be_read() -> None:
    record = CallRecord(epoch=1, seq=2, started_us=3, ended_us=4)
    shorter = msgpack.encode(msgpack.decode(encode_record(record))[:-2])
    assert decode_record(shorter) == record


@pytest.mark.parametrize(("status", "failed"), [(200, False), (399, False), (400, True), (503, True)])
def test_a_call_failed_when_its_client_was_told_so(status: int, failed: bool) -> None:
    assert CallRecord(epoch=1, seq=2, started_us=3, ended_us=4, status_code=status).failed is failed
