from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Reply, call_id, ledger_key_of


def a_reply() -> Reply:
    return Reply(status=200, head=b"", body=b"", deployment=None, attempt=None)


class Wire:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def fail(*_: object) -> None:
    raise RuntimeError("a policy's own defect")


def test_what_is_owed_at_the_end_happens_once_in_its_order() -> None:
    reply, done = a_reply(), []
    reply.on_settle += [lambda _: done.append("charge"), lambda _: done.append("write")]
    reply.on_end.append(lambda: done.append("release"))

    reply.settle()
    reply.end()
    reply.end()

    assert done == ["charge", "write", "release"]


def test_one_callback_that_fails_keeps_no_other_from_charging_writing_and_releasing() -> None:
    reply, done, wire = a_reply(), [], Wire()
    reply.wire = wire
    reply.on_settle += [fail, lambda _: done.append("write")]
    reply.on_end += [fail, lambda: done.append("release")]

    with pytest.raises(RuntimeError, match="own defect"):
        reply.end()

    assert done == ["write", "release"]
    assert wire.closed == 1


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1))
def test_a_call_id_holds_its_ledger_key(epoch: int, seq: int) -> None:
    assert ledger_key_of(call_id(epoch, seq)) == (epoch, seq)


@pytest.mark.parametrize(
    "other", ["", "chatcmpl-1", "142ccb76-475a-4fa1-9f41-b2ee34e71901", "g" * 8 + "-0000-8000-8000-" + "0" * 12]
)
def test_ids_of_others_are_not_taken_for_ours(other: str) -> None:
    assert ledger_key_of(other) is None
