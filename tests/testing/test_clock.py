from __future__ import annotations

import pytest

from tollway.testing import FakeClock


def test_time_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock(now=1000.0)
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


def test_what_is_due_is_called_in_the_order_of_its_time_and_sees_that_time() -> None:
    clock = FakeClock()
    seen: list[tuple[str, float]] = []
    for name, after_s in (("late", 3.0), ("early", 1.0), ("early too", 1.0), ("never", 9.0)):
        clock.call_after(after_s, lambda name=name: seen.append((name, clock.monotonic())))  # type: ignore[misc]
    clock.advance(5.0)
    assert seen == [("early", 1.0), ("early too", 1.0), ("late", 3.0)]
    assert clock.monotonic() == 5.0


def test_what_is_called_may_ask_to_be_called_again() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(clock.monotonic())
        clock.call_after(1.0, tick)

    tick()
    clock.advance(3.5)
    assert ticks == [0.0, 1.0, 2.0, 3.0]


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().advance(-1)
