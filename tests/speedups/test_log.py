"""The log: its bounds, what it never lets go of, and the ids it gives."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from h3py.errors import BackpressureDetected, ManagerClosed
from tests.speedups.support.rig import Rig


def test_sequences_count_from_one() -> None:
    with Rig() as rig:
        assert (rig.engine.head, rig.engine.tail) == (0, 1)
        assert [rig.publish("x") for _ in range(3)] == [1, 2, 3]
        assert (rig.engine.head, rig.engine.tail) == (3, 1)


def test_ids_have_a_fixed_width_and_say_their_position() -> None:
    with Rig(epoch=0xABC) as rig:
        stream = rig.stream()
        sequence = rig.publish("x")
        rig.settle()
        found = stream.events[0].id
        assert found == "000000000abc-000000000001"
        assert rig.engine.event_id(sequence) == found
        assert rig.engine.position_of(found) == 1
        assert rig.engine.epoch == 0xABC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "7",
        "000000000007",
        "000000000008-000000000001",
        "000000000007-00000000000g",
        "000000000007-00000000001",
        "000000000007-0000000000011",
        "000000000007_000000000001",
        "00000000000 -000000000001",
        "000000000007-00000 000001",
        "+00000000007-000000000001",
        "000000000007-0000000001  ",
    ],
)
def test_an_id_that_this_engine_has_not_given(text: str) -> None:
    with Rig(epoch=7) as rig:
        assert rig.engine.position_of("000000000007-000000000001") == 1
        assert rig.engine.position_of(text) is None


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_the_oldest_go_when_there_are_too_many(most: int) -> None:
    with Rig(log_events=most) as rig:
        for n in range(1, 3 * most + 1):
            rig.publish("x")
            rig.step()
            assert rig.engine.tail == max(1, n - most + 1)
        assert rig.engine.stats()["log_events"] == most


def test_the_oldest_go_when_they_are_too_large() -> None:
    with Rig(log_bytes=10_000) as rig:
        for _ in range(50):
            rig.publish("x" * 900)
            rig.step()
            assert rig.engine.stats()["log_bytes"] <= 10_000
        assert 5 <= rig.engine.stats()["log_events"] <= 10


def test_one_larger_event_is_taken_by_an_empty_log() -> None:
    with Rig(log_bytes=5000) as rig:
        stream = rig.stream()
        rig.publish("small")
        rig.step()
        rig.publish("x" * 20_000)
        assert rig.engine.stats()["log_events"] == 1
        rig.step()
        rig.publish("small")
        assert rig.engine.stats()["log_events"] == 1
        rig.settle()
        assert [len(data) for data in stream.data] == [5, 20_000, 5]


def test_the_oldest_go_when_they_are_too_old() -> None:
    with Rig(log_age_s=10.0) as rig:
        for _ in range(5):
            rig.publish("x")
            rig.clock.advance(4.0)
        # Published at 0, 4, 8, 12, 16; it is 20.
        assert rig.engine.tail == 4
        rig.clock.advance(100.0)
        assert rig.engine.stats()["log_events"] == 0
        assert rig.engine.tail == 6


def test_more_than_one_hold_of_the_lock_lets_go_of() -> None:
    with Rig(log_events=1000, log_age_s=1.0) as rig:
        for _ in range(1000):
            rig.publish("x")
        rig.step(100)
        rig.clock.advance(2.0)
        assert rig.engine.stats()["log_events"] == 0


def test_what_a_pump_has_yet_to_walk_never_goes() -> None:
    with Rig(log_events=4) as rig:
        stream = rig.stream()
        for n in range(4):
            rig.publish(f"{n}")
        for _ in range(3):
            with pytest.raises(BackpressureDetected, match="yet to be sent"):
                rig.publish("no")
        assert rig.engine.head == 4
        assert rig.engine.stats()["refused"] == 3
        rig.settle()
        assert rig.publish("4") == 5
        rig.settle()
        assert stream.data == ["0", "1", "2", "3", "4"]


def flood(rig: Rig, data: str) -> int:
    """Publish until it is refused; how many were taken."""
    for count in range(1 << 16):
        try:
            rig.publish(data)
        except BackpressureDetected:
            return count
    raise AssertionError("nobody is refused")


def test_half_of_the_log_is_for_what_has_been_walked() -> None:
    with Rig(log_events=100) as rig:
        assert flood(rig, "x") == 100  # what is free is taken
        assert (rig.engine.tail, rig.engine.head) == (1, 100)
        while rig.engine.step():
            pass
        # One more than half: then half of what was walked is still there.
        assert flood(rig, "x") == 51
        assert (rig.engine.tail, rig.engine.head) == (52, 151)


def test_half_of_its_bytes_too() -> None:
    with Rig(log_bytes=100 * cost_of(900)) as rig:
        assert flood(rig, "x" * 900) == 100
        while rig.engine.step():
            pass
        assert flood(rig, "x" * 900) == 51
        assert rig.engine.head == 151


def test_a_large_event_waits_for_what_has_yet_to_be_walked() -> None:
    """It fits only where nothing else is: what was walked does not go for it in vain."""
    with Rig(log_bytes=10 * cost_of(900)) as rig:
        stream = rig.stream()
        for _ in range(6):
            rig.publish("x" * 900)
        rig.settle()
        for _ in range(4):
            rig.publish("y" * 900)  # less than half, and not walked
        for _ in range(2):
            with pytest.raises(BackpressureDetected):
                rig.publish("z" * 8000)
        assert rig.engine.tail == 1
        rig.settle()
        rig.publish("z" * 8000)
        beside = (10 * cost_of(900) - cost_of(8000)) // cost_of(900)
        assert rig.engine.tail == 11 - beside
        rig.settle()
        assert len(stream.data) == 11


@pytest.mark.parametrize("size", [40, 700])
def test_a_flood_costs_nothing_a_stream_that_is_a_little_behind(size: int) -> None:
    """It lags, and its client reads: it meets the pump, and goes live, while the flood lasts."""
    with Rig(log_events=2000, max_queue_bytes=4000) as rig:
        stream = rig.stream(tiny=True)
        sent = rig.fill(stream, "lagging")
        caught_up = 0
        for _ in range(200):
            while True:
                data = f"{len(sent)}-".ljust(size, "x")
                try:
                    rig.publish(data)
                except BackpressureDetected:
                    break
                sent.append(data)
            rig.step()
            stream.read()
            caught_up += stream.state == "live"
        rig.settle()
        assert stream.data == sent
        assert "reset" not in stream.kinds
        assert rig.engine.stats()["refused"] == 200
        assert caught_up


def test_whoever_reads_on_meets_the_pump_however_fast_publishing_is() -> None:
    """A return with a position, in a flood: each round brings it more than what is new."""
    with Rig(log_events=4000) as rig:
        for _ in range(1000):
            rig.publish("before")
        while rig.engine.step():
            pass
        stream = rig.adopt()
        rig.engine.subscribe(stream.handle, position=0, policy="catch_up")
        rounds = 0
        while stream.state != "live":
            flood(rig, "flood")
            rig.step()
            stream.read()
            rounds += 1
            assert rounds < 200, "it never gets there"
        flood(rig, "flood")
        rig.settle()
        assert [event.sequence for event in stream.events] == list(range(1, rig.engine.head + 1))
        assert stream.kinds == ["caught_up"]


def test_age_takes_nothing_that_was_not_walked() -> None:
    with Rig(log_age_s=1.0, pumps=1) as rig:
        stream = rig.stream()
        rig.publish("x")
        rig.clock.advance(5.0)  # the pump walks, then looks at the time
        rig.settle()
        assert stream.data == ["x"]


def test_the_slowest_pump_counts() -> None:
    with Rig(log_events=2, pumps=2) as rig:
        rig.publish("1")
        rig.publish("2")
        with pytest.raises(BackpressureDetected):
            rig.publish("3")
        rig.step()
        rig.publish("3")


class TestDrain:
    def test_there_is_room(self) -> None:
        with Rig(log_events=4) as rig:
            rig.publish("x")
            assert rig.engine.drain(0)
            assert rig.engine.ask_room()

    def test_room_is_a_quarter_of_the_log(self) -> None:
        """That many more are taken before half of it has yet to be walked."""
        with Rig(log_events=100) as rig:
            flood(rig, "x")
            while rig.engine.step():
                pass
            for _ in range(25):
                rig.publish("x")
                assert rig.engine.ask_room()
            rig.publish("x")
            assert not rig.engine.ask_room()
            assert flood(rig, "x") == 25

    def test_nobody_makes_room(self) -> None:
        with Rig(log_events=4) as rig:
            for _ in range(4):
                rig.publish("x")
            assert not rig.engine.drain(0)
            assert not rig.engine.drain(0.001)

    def test_room_is_reported_once_to_who_asked(self) -> None:
        with Rig(log_events=4) as rig:
            for _ in range(4):
                rig.publish("x")
            assert not rig.engine.ask_room()
            rig.step(3)
            assert [report.kind for report in rig.reported] == ["room"]
            assert rig.reported[0].handle == 0

    def test_streams_that_lag_are_waited_for_when_asked(self) -> None:
        with Rig(max_queue_bytes=2000) as rig:
            stream = rig.stream(tiny=True)
            rig.fill(stream, "lagging")
            assert rig.engine.stats()["lagging"] == 1
            assert rig.engine.drain(0)
            assert not rig.engine.drain(0, lagging=True)
            assert not rig.engine.drain(0.001, lagging=True)
            rig.settle()
            assert rig.engine.drain(0, lagging=True)
            rig.fill(stream, "lagging")
            stream.client.close()
            rig.settle(read=False)
            assert rig.engine.stats()["lagging"] == 0
            assert rig.engine.drain(float("inf"), lagging=True)

    def test_an_engine_that_ends_has_no_room(self) -> None:
        with Rig(log_events=4) as rig:
            for _ in range(4):
                rig.publish("x")
            rig.engine.shut_down()
            assert not rig.engine.drain(None)
            with pytest.raises(ManagerClosed):
                rig.publish("x")


@cache
def cost_of(size: int) -> int:
    """What an event counts in the log."""
    with Rig() as rig:
        rig.publish("x" * size)
        found: int = rig.engine.stats()["log_bytes"]
        return found


@given(
    st.lists(st.one_of(st.integers(0, 3000), st.none()), max_size=60),
    st.integers(1, 12),
    st.integers(3000, 20_000),
)
def test_bounds_against_a_plain_list(deeds: list[int | None], most: int, most_bytes: int) -> None:
    """A list of entries, the oldest going first, holds the same sequences."""
    with Rig(log_events=most, log_bytes=most_bytes) as rig:
        base = rig.engine.stats()["log_bytes"]
        assert base == 0
        held: list[tuple[int, int]] = []
        walked = head = 0
        for size in deeds:
            if size is None:
                rig.step()
                walked = head
                continue
            before = rig.engine.stats()["log_bytes"]
            tail = rig.engine.tail
            held = [entry for entry in held if entry[0] >= tail]
            unwalked = [entry[1] for entry in held if entry[0] > walked]
            # Something has to go for it, and what is not walked has its half: docs/engine.md.
            refused = (
                bool(unwalked)
                and (len(held) == most or before + cost_of(size) > most_bytes)
                and (
                    2 * len(unwalked) > most
                    or 2 * sum(unwalked) > most_bytes
                    or sum(unwalked) + cost_of(size) > most_bytes
                )
            )
            try:
                rig.engine.publish(SSEEvent("x" * size), everyone=True)
            except BackpressureDetected:
                assert refused
                assert rig.engine.tail == tail, "nothing goes for an event that is refused"
                continue
            assert not refused
            head += 1
            held = [entry for entry in held if entry[0] >= rig.engine.tail]
            assert [entry[0] for entry in held] == list(range(rig.engine.tail, head))
            cost = rig.engine.stats()["log_bytes"] - sum(entry[1] for entry in held)
            assert cost >= size
            held.append((head, cost))
            assert len(held) <= most
            assert sum(entry[1] for entry in held) <= most_bytes or len(held) == 1
            # No more went than had to.
            gone = before + cost - sum(entry[1] for entry in held)
            assert gone == 0 or before + cost > most_bytes or len(held) == most
