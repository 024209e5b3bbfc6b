"""The clock in the test's hand: it moves the servers, and the engine below them."""

from __future__ import annotations

import threading

import pytest

from h3py import ServeOptions
from h3py.testing import ManualClock


def test_time_passes_by_advance_alone() -> None:
    clock = ManualClock()
    assert clock() == clock() == 1000.0
    assert clock.advance(2.5) == 1002.5
    assert clock() == 1002.5
    assert clock.advance(0) == 1002.5
    assert ManualClock(5)() == 5.0
    assert repr(clock) == "<ManualClock 1002.5 s>"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("-inf")])
def test_time_does_not_go_back(seconds: float) -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(seconds)
    assert clock() == 1000.0


def test_threads_may_advance_it_at_once() -> None:
    clock = ManualClock(0)
    threads = [
        threading.Thread(target=lambda: [clock.advance(1) for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock() == 2000.0


def test_it_is_what_the_options_take() -> None:
    clock = ManualClock()
    assert ServeOptions(clock=clock).clock is clock
    assert clock.engine_clock.now == clock()
