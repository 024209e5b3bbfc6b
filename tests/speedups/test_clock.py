"""The engine's time in a test's hand."""

from __future__ import annotations

import pytest

from h3py._speedups.clock import Clock
from h3py._speedups.engine import Engine
from tests.speedups.support.rig import Rig


def test_it_stands_still_until_it_is_told() -> None:
    clock = Clock(5.0)
    assert clock.now == 5.0
    clock.advance(0.25)
    clock.advance(0)
    assert clock.now == 5.25


@pytest.mark.parametrize("seconds", [-0.001, 1e9, float("nan")])
def test_it_goes_forward(seconds: float) -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="a clock goes forward"):
        clock.advance(seconds)
    assert clock.now == 0.0


def test_a_stepped_engine_has_looked_when_it_returns() -> None:
    with Rig(heartbeat_s=1.0) as rig:
        stream = rig.stream()
        rig.clock.advance(1.0)
        stream.read()
        assert [event.comment for event in stream.events] == [True]


@pytest.mark.parametrize("pumps", [1, 3])
def test_the_pumps_of_a_running_engine_have_looked_when_it_returns(pumps: int) -> None:
    clock = Clock(100.0)
    engine = Engine(pumps=pumps, clock=clock, log_age_s=10.0)
    engine.start()
    try:
        for turn in range(20):
            clock.advance(0.5)
            assert clock.now == 100.5 + turn / 2
    finally:
        engine.shut_down()
    clock.advance(1.0)


def test_one_clock_serves_several_engines_and_outlives_them() -> None:
    clock = Clock()
    engines = [Engine(clock=clock, threaded=False) for _ in range(3)]
    clock.advance(1.0)
    engines[0].shut_down()
    clock.advance(1.0)
    engines.clear()
    clock.advance(1.0)
    assert clock.now == 3.0
