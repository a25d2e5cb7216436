from __future__ import annotations

import io

from msgspec.json import decode

from tollway.calls import Cost, Usage
from tollway.exporters.console import LINES_PER_S_MAX, QUEUE_CALLS_MAX, Console
from tollway.ledger.record import CallRecord


def a_record(**changes: object) -> CallRecord:
    fields: dict[str, object] = {
        "epoch": 1,
        "seq": 1,
        "started_us": 1_795_300_000_000_000,
        "ended_us": 1_795_300_000_812_000,
        "key": b"\x01" * 32,
        "key_alias": "openclaw",
        "model": "gpt-4o",
        "model_group": "gpt-4o",
        "usage": Usage(input=57, output=143),
        "cost": Cost(94_350),
    }
    return CallRecord(**(fields | changes))  # type: ignore[arg-type]


def told(*records: CallRecord, as_json: bool = False) -> list[str]:
    stream = io.StringIO()
    console = Console(as_json=as_json, stream=stream)
    for record in records:
        console.tell(record)
    console.flush()
    return stream.getvalue().splitlines()


def test_a_line_says_status_model_caller_tokens_money_and_time() -> None:
    (line,) = told(a_record())

    assert line.split(" ", 1)[1] == "200 gpt-4o  openclaw  57+143 tokens  $0.000094  812 ms"


def test_a_line_names_the_model_that_served_when_it_is_another() -> None:
    (line,) = told(a_record(model_group="claude-opus-4-6"))

    assert "gpt-4o -> claude-opus-4-6" in line


def test_a_failure_says_why_and_an_unpriced_call_says_so() -> None:
    failed, unpriced = told(
        a_record(status_code=422, error_type="budget_exceeded", error_message="Budget has been exceeded!", usage=None),
        a_record(cost=Cost(), cost_known=False),
    )

    assert "422 gpt-4o  openclaw  budget_exceeded: Budget has been exceeded!  812 ms" in failed
    assert "57+143 tokens  unpriced" in unpriced


def test_names_cannot_move_the_cursor_of_a_terminal() -> None:
    (line,) = told(a_record(model="evil\x1b[2Jname\n", model_group=""))

    assert "evil?[2Jname?" in line


def test_more_calls_than_a_person_reads_are_summed_up_but_failures_are_shown() -> None:
    records = [a_record(seq=n) for n in range(LINES_PER_S_MAX + 5)]
    lines = told(*records, a_record(status_code=500, error_message="broken"))

    assert len(lines) == LINES_PER_S_MAX + 2
    assert "broken" in lines[-2]
    assert lines[-1].strip() == "... and 5 more calls, $0.000472"


def test_json_lines_are_complete_up_to_the_bound_and_count_what_is_left_out() -> None:
    lines = told(*[a_record(seq=n) for n in range(QUEUE_CALLS_MAX + 3)], as_json=True)

    first = decode(lines[0])
    assert (first["event"], first["status"], first["key_alias"], first["spend"]) == (
        "call",
        200,
        "openclaw",
        0.00009435,
    )
    assert (first["input_tokens"], first["output_tokens"], first["duration_ms"]) == (57, 143, 812.0)
    assert decode(lines[-1]) == {"event": "calls_left_out", "calls": 3, "spend": 3 * 0.00009435}


def test_a_closed_console_does_not_disturb_calls() -> None:
    stream = io.StringIO()
    console = Console(as_json=False, stream=stream)
    stream.close()
    console.tell(a_record())

    console.flush()

    console.tell(a_record())  # still takes calls
