from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.ledger.pace import WINDOW_S, Pace, Window

TAKES = st.lists(st.tuples(st.floats(0, 45, width=16), st.integers(1, 12)), max_size=80)


@settings(max_examples=300, deadline=None)
@given(TAKES, st.integers(1, 40))
def test_never_more_than_the_limit_stands_in_a_sliding_minute_as_the_window_counts_it(
    takes: list[tuple[float, int]], limit: int
) -> None:
    window = Window(limit)
    now = 1_000.0
    granted: list[tuple[float, int]] = []
    for pause, amount in takes:
        now += pause
        if window.take(amount, now):
            granted.append((now, amount))
        assert window.used(now) <= limit
        assert window.remaining(now) >= 0
    # In no fixed minute more than the limit, so in no sliding one more than twice of it.
    for start, _ in granted:
        assert sum(amount for when, amount in granted if start <= when < start + WINDOW_S) <= 2 * limit


@settings(max_examples=200, deadline=None)
@given(TAKES, st.integers(12, 40), st.integers(1, 12))
def test_after_the_wait_that_was_told_the_amount_fits(takes: list[tuple[float, int]], limit: int, amount: int) -> None:
    window = Window(limit)
    now = 0.0
    for pause, taken in takes:
        now += pause
        window.take(taken, now)
    for _ in range(3):  # a minute that ends may leave what it took to the next one
        wait_s = window.wait_s(amount, now)
        assert 0 <= wait_s <= WINDOW_S
        if wait_s == 0:
            break
        now += wait_s
    assert window.take(amount, now + 1e-6)


def test_a_refused_take_takes_nothing_and_a_correction_gives_back() -> None:
    window = Window(10)
    assert window.take(8, 0.0)
    assert not window.take(3, 0.0)
    assert window.take(2, 0.0)
    window.correct(-6, 1.0)
    assert window.remaining(1.0) == 6
    window.correct(-100, 1.0)
    assert window.remaining(1.0) == 10
    window.correct(25, 1.0)  # used more than was taken for it: the minute is over its limit
    assert window.remaining(1.0) == 0
    assert not window.take(1, 1.0)


@pytest.mark.parametrize(
    ("now", "used"), [(59.0, 10.0), (60.0, 10.0), (90.0, 5.0), (119.9, 0.0), (120.0, 0.0), (500.0, 0.0)]
)
def test_what_was_used_fades_while_the_next_minute_passes(now: float, used: float) -> None:
    window = Window(10)
    assert window.take(10, 0.0)
    assert window.used(now) == pytest.approx(used, abs=0.05)


def test_new_limits_keep_what_was_used_in_this_minute() -> None:
    pace = Pace(rpm=5, tpm=100, parallel_max=2)
    assert pace.requests is not None
    assert pace.requests.take(5, 0.0)
    pace.change(rpm=6, tpm=None, parallel_max=3)
    assert pace.requests.remaining(0.0) == 1
    assert pace.tokens is None
    assert pace.parallel_max == 3


def test_of_several_workers_each_keeps_to_its_share_of_every_limit() -> None:
    pace = Pace(rpm=100, workers=3)
    assert pace.requests is not None
    assert pace.requests.limit == 33
    pace.change(rpm=2, tpm=1000, parallel_max=6)
    assert pace.tokens is not None
    assert (pace.requests.limit, pace.tokens.limit, pace.parallel_max) == (1, 333, 2)
    pace.change(rpm=None, tpm=None, parallel_max=None)
    assert (pace.requests, pace.tokens, pace.parallel_max) == (None, None, None)
