"""`tollway tail`: every call that ends is shown, once, whatever becomes of the stream that tells of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tollway.cli import tail
from tollway.cli.gateway_client import BrokenOff
from tollway.cli.refusal import Refused
from tollway.cli.tail import Shown, Wanted, follow, line_of

NOW_S = 1_795_000_000.0


def call(number: int, **more: Any) -> dict[str, Any]:
    told = {
        "id": f"c{number}",
        "at_ms": NOW_S * 1000 + number,
        "duration_ms": 250.0,
        "status": 200,
        "model": "gpt-4o-2024",
        "model_group": "gpt-4o",
        "key": "ab" * 32,
        "key_alias": "agent",
        "input_tokens": 1200,
        "output_tokens": 34,
        "cost": 0.00125,
        "error_type": "",
        "error": "",
    }
    return {**told, **more}


def stream(*batches: list[dict[str, Any]], missed: int = 0) -> list[bytes]:
    lines = [b"retry: 200\n", b"id: 0\n", b"event: open\n", b"data: {}\n", b"\n"]
    for batch in batches:
        told = json.dumps({"calls": batch, "missed": missed}).encode()
        lines += [b"id: 1\n", b"event: calls\n", b"data: " + told + b"\n", b"\n"]
    return lines


class Client:
    """Gives one stream after the other; an exception among them is raised. Ends with KeyboardInterrupt, as a person would."""

    url = "http://gateway"

    def __init__(self, *streams: Any, logged: list[dict[str, Any]] | None = None) -> None:
        self._streams = iter(streams)
        self.logged = logged or []
        self.queries: list[dict[str, Any]] = []

    @contextmanager
    def stream(self, path: str, *, timeout_s: float) -> Iterator[tuple[float, Iterator[bytes]]]:
        given = next(self._streams, KeyboardInterrupt())
        if isinstance(given, BaseException):
            raise given
        yield NOW_S, iter(given)

    def get(self, path: str, query: dict[str, Any]) -> Any:
        self.queries.append(query)
        return {"calls": self.logged[::-1], "next": None}


def followed(client: Client, wanted: Wanted | None = None, *, lines: int = 0, as_json: bool = True) -> list[float]:
    """Until somebody presses Ctrl-C; the pauses that were made."""
    pauses: list[float] = []
    show = Shown(wanted or Wanted(), as_json=as_json)
    with pytest.raises(KeyboardInterrupt):
        follow(client, show, lines, sleep=pauses.append)  # type: ignore[arg-type]  # plays the client
    return pauses


def ids(out: str) -> list[str]:
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_calls_come_as_they_end_and_none_comes_twice(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = call(1), call(2), call(3)
    # The second stream is another worker's: its log knows what ended in between, and it tells of a call again.
    client = Client(stream([one]), stream([two, three]), logged=[one, two])
    followed(client)
    assert ids(capsys.readouterr().out) == ["c1", "c2", "c3"]


def test_what_ended_long_before_the_stream_broke_is_not_shown_with_what_ended_since(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = call(-60_000)
    client = Client(stream(), stream(), logged=[old, call(500)])
    followed(client)
    assert ids(capsys.readouterr().out) == ["c500"]


def test_the_newest_calls_come_first_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(stream([call(3)]), logged=[call(1), call(2)])
    followed(client, lines=1)
    assert ids(capsys.readouterr().out) == ["c2", "c3"]


def test_a_gateway_that_restarts_is_waited_for_with_growing_pauses_and_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = [BrokenOff("Connection refused")] * 6
    client = Client(stream([call(1)]), *away, stream([call(2)]))
    assert followed(client) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    said = capsys.readouterr()
    assert ids(said.out) == ["c1", "c2"]
    assert said.err.splitlines() == [
        "tollway: http://gateway does not answer (Connection refused); waiting for it, Ctrl-C ends",
        "tollway: the gateway is there again",
    ]


def test_a_gateway_that_was_never_there_is_a_refusal() -> None:
    with pytest.raises(Refused, match=r"no gateway answers at http://gateway \(Connection refused\)"):
        follow(Client(BrokenOff("Connection refused")), Shown(Wanted(), as_json=True), 0)  # type: ignore[arg-type]  # plays the client


def test_calls_that_came_too_fast_are_counted_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    followed(Client(stream([call(1)], missed=1234)))
    assert "1,234 calls came too fast" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Wanted(token="ab" * 32), ["c1", "c2", "c3"]),
        (Wanted(token="master"), ["c4"]),
        (Wanted(model="gpt-4o"), ["c1", "c2", "c4"]),
        (Wanted(model="*2024"), ["c1", "c2", "c3", "c4"]),
        (Wanted(model="claude*"), ["c3"]),
        (Wanted(status="ok"), ["c1", "c4"]),
        (Wanted(status="failed"), ["c2", "c3"]),
        (Wanted(status="429"), ["c2"]),
        (Wanted(status="5xx"), ["c3"]),
        (Wanted(status="5xx", model="gpt-4o"), []),
    ],
)
def test_only_what_is_wanted_is_shown(capsys: pytest.CaptureFixture[str], wanted: Wanted, shown: list[str]) -> None:
    calls = [call(1), call(2, status=429), call(3, status=503, model_group="claude"), call(4, key=None, key_alias=None)]
    followed(Client(stream(calls)), wanted)
    assert ids(capsys.readouterr().out) == shown


def test_a_line_has_time_key_model_status_tokens_cost_and_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "100")
    cells = line_of(call(1)).split()
    assert len(cells[0]) == len("12:34:56")
    assert cells[1:] == ["agent", "gpt-4o", "200", "1,200", "34", "$0.001250", "250"]
    assert "unpriced" in line_of(call(1, cost=None))
    assert line_of(call(1, key=None, key_alias=None)).split()[1:3] == ["(master", "key)"]
    long = line_of(call(1, key_alias="k" * 99, model_group="m" * 99))
    assert (len(long), "…" in long) == (100, True)
    first, second = line_of(call(1, status=429, error_type="rate_limit", error="too\nmany " * 50)).splitlines()
    assert (len(first), second.split()[:3]) == (100, ["rate_limit", "too", "many"])
    assert len(second) <= 100


def test_a_reader_who_has_seen_enough_ends_it_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):  # not taken for a gateway that is away; `run` ends quietly
        follow(Client(stream([call(1)])), Shown(Wanted(), as_json=True), 0)  # type: ignore[arg-type]  # plays the client


def test_what_was_seen_is_bounded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tail, "SEEN_MAX", 3)
    show = Shown(Wanted(), as_json=True)
    show.calls([call(number) for number in range(10)])
    assert len(show._seen) == 3
    assert len(ids(capsys.readouterr().out)) == 10
