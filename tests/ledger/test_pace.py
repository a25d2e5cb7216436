from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.ledger.pace import SPAN_S, UNBOUNDED, WINDOW_S, Pace, Window

TAKES = st.lists(st.tuples(st.floats(0, 45, width=16), st.integers(1, 12)), max_size=80)


@settings(max_examples=300)
@given(TAKES, st.integers(1, 40))
def test_never_more_than_the_limit_is_let_through_in_any_minute(takes: list[tuple[float, int]], limit: int) -> None:
    window = Window(limit)
    now = 1_000.0
    granted: list[tuple[float, int]] = []
    for pause, amount in takes:
        now += pause
        used = sum(taken for when, taken in granted if when > now - WINDOW_S)
        longest = sum(taken for when, taken in granted if when > now - WINDOW_S - SPAN_S)
        if window.take(amount, now):
            granted.append((now, amount))
            assert used + amount <= limit
        else:
            assert longest + amount > limit  # refused only for what was used within a minute and a second
        assert 0 <= window.remaining(now) <= limit - sum(t for when, t in granted if when > now - WINDOW_S)


@settings(max_examples=200)
@given(TAKES, st.integers(12, 40), st.integers(1, 12))
def test_after_the_wait_that_was_told_the_amount_fits_and_not_before(
    takes: list[tuple[float, int]], limit: int, amount: int
) -> None:
    window = Window(limit)
    now = 0.0
    for pause, taken in takes:
        now += pause
        window.take(taken, now)
    wait_s = window.wait_s(amount, now)
    assert 0 <= wait_s <= WINDOW_S
    if wait_s > 1e-6:
        assert not window.take(amount, now + wait_s - 1e-6)
    assert window.take(amount, now + wait_s + 1e-6)


@given(st.lists(st.tuples(st.floats(0, 20, width=16), st.integers(1, 9), st.integers(0, 30)), max_size=40))
def test_what_calls_used_less_is_given_back_where_it_was_taken(calls: list[tuple[float, int, int]]) -> None:
    """Each call ends when the one after the next begins, with as many tokens as it really used."""
    window = Window(1_000_000)
    now = 0.0
    under_way: list[tuple[float, int, int]] = []
    counted: list[tuple[float, int]] = []
    for pause, taken, used in calls:
        now += pause
        assert window.take(taken, now)
        under_way.append((now, taken, used))
        if len(under_way) > 2:
            began, reserved, really = under_way.pop(0)
            window.correct(really - reserved, now, began)
            counted.append((began, min(reserved, really)))
            counted.append((now, max(0, really - reserved)))
        exact = sum(amount for when, amount in counted if when > now - WINDOW_S)
        exact += sum(reserved for began, reserved, _ in under_way if began > now - WINDOW_S)
        longest = sum(amount for when, amount in counted if when > now - WINDOW_S - SPAN_S)
        longest += sum(reserved for began, reserved, _ in under_way if began > now - WINDOW_S - SPAN_S)
        assert exact <= window.used_at(now) <= longest


def test_a_refused_take_takes_nothing_and_a_correction_gives_back() -> None:
    window = Window(10)
    assert window.take(8, 0.0)
    assert not window.take(3, 0.0)
    assert window.take(2, 0.0)
    window.correct(-6, 1.0, 0.0)
    assert window.remaining(1.0) == 6
    window.correct(-100, 1.0, 0.0)
    assert window.remaining(1.0) == 10
    window.correct(25, 1.0)  # used more than was taken for it: the minute is over its limit
    assert window.remaining(1.0) == 0
    assert not window.take(1, 1.0)
    window.correct(-9, 62.0, 1.0)  # that minute is over: nothing is left to give back
    assert window.used_at(62.0) == 0


@pytest.mark.parametrize(("now", "used"), [(59.0, 10), (59.99, 10), (60.0, 0), (500.0, 0)])
def test_what_was_used_counts_for_a_minute(now: float, used: int) -> None:
    window = Window(10)
    assert window.take(10, 0.0)
    assert window.used_at(now) == used
    assert window.frees_s(now) == (WINDOW_S - now if used else None)


def test_a_window_keeps_as_many_numbers_as_a_minute_has_seconds() -> None:
    window = Window(UNBOUNDED)
    for i in range(100_000):
        window.take(1, i / 100)
    assert len(window._spans or ()) <= WINDOW_S / SPAN_S + 1
    assert 6_000 <= window.used_at(999.99) <= 6_100


def test_a_share_bounds_what_is_used_of_a_limit() -> None:
    window = Window(10, share=3)
    assert [window.take(1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert window.remaining(0.0) == 7
    assert window.wait_s(1, 20.0) == 40.0
    window.share = 10
    assert window.take(7, 0.0)


def test_new_limits_keep_what_was_used_in_this_minute() -> None:
    pace = Pace(rpm=5, tpm=100, parallel_max=2)
    assert pace.requests is not None
    assert pace.requests.take(5, 0.0)
    pace.change(rpm=6, tpm=None, parallel_max=3)
    assert pace.requests.remaining(0.0) == 1
    assert pace.tokens is None
    assert pace.parallel_max == 3


def test_calls_at_once_are_counted_also_while_they_have_no_limit() -> None:
    pace = Pace()
    assert pace.take(5, 0.0) is None
    pace.change(rpm=None, tpm=None, parallel_max=1)
    assert pace.take(5, 0.0) == "max_parallel_requests"
    pace.parallel -= 1
    assert pace.take(5, 0.0) is None


def test_a_call_is_refused_by_the_first_limit_without_room_and_takes_nothing_then() -> None:
    pace = Pace(rpm=2, tpm=100, parallel_max=3)
    assert pace.take(100, 0.0) is None
    assert pace.take(1, 0.0) == "tokens"
    assert pace.requests is not None
    assert (pace.requests.used, pace.parallel) == (1, 1)
    assert pace.take(0, 0.0) is None
    assert pace.take(0, 0.0) == "requests"


def test_of_several_processes_that_share_nothing_each_keeps_to_its_part_of_every_limit() -> None:
    pace = Pace(rpm=100, processes=3)
    assert pace.requests is not None
    assert (pace.requests.limit, pace.requests.share) == (100, 33)
    pace.change(rpm=2, tpm=1000, parallel_max=6)
    assert pace.tokens is not None
    assert (pace.requests.share, pace.tokens.share, pace.parallel_share) == (1, 333, 2)
    pace.change(rpm=None, tpm=None, parallel_max=None)
    assert (pace.requests, pace.tokens, pace.parallel_max, pace.parallel_share) == (None, None, None, UNBOUNDED)
