"""The data of benchmark events: the layout that native/event.h writes down."""

from __future__ import annotations

from bench import payload


def test_layout_is_the_one_in_the_header() -> None:
    data = payload.event_data(50, 62, modulus=64, time_ns=1234)
    assert data == "00000062 00000064 0000000000001234 00000050 +/ABCD"


def test_no_modulus_is_written_as_zeros() -> None:
    assert payload.event_data(44, 99_999_999) == "99999999 00000000 0000000000000000 00000044 "


def test_time_wraps_at_its_sixteen_digits() -> None:
    assert payload.event_data(44, 0, time_ns=10**16 + 7)[18:34] == "0000000000000007"


def test_a_cycle_is_64_events_that_follow_each_other() -> None:
    events = payload.cycle(100)
    assert [event[:8] for event in events] == [f"{n:08d}" for n in range(64)]
    assert {len(event) for event in events} == {100}


def test_the_stamper_makes_what_event_data_makes() -> None:
    stamper = payload.Stamper(200)
    for sequence in range(130):
        event = stamper.next()
        stamp = int(event[18:34])
        assert stamp > 0
        assert event == payload.event_data(200, sequence, time_ns=stamp)


def test_the_stamper_wraps_where_the_client_does() -> None:
    stamper = payload.Stamper(44)
    stamper.sequence = payload.WRAP - 1
    assert stamper.next()[:8] == "99999999"
    assert stamper.next()[:8] == "00000000"
