"""Groups by name: found again, told apart, kept while somebody needs them, forgotten after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from tests.speedups.support.rig import Rig

KEPT = 8192
"""Groups that nobody is in, kept for what they know of the log."""


def groups(rig: Rig) -> int:
    found = rig.engine.stats()["groups"]
    assert isinstance(found, int)
    return found


def test_one_name_in_three_kinds_is_three_groups() -> None:
    with Rig() as rig:
        user = rig.stream(users=["x"], everyone=False)
        channel = rig.stream(channels=["x"], everyone=False)
        client = rig.stream(client="x", everyone=False)
        rig.publish("u", users=["x"])
        rig.publish("ch", channels=["x"])
        rig.publish("cl", clients=["x"])
        rig.settle()
        assert [stream.data for stream in (user, channel, client)] == [["u"], ["ch"], ["cl"]]


def test_names_are_compared_whole() -> None:
    names = ["a", "A", "a\0", "ä", "a" * 65535, " a", "a "]
    with Rig() as rig:
        streams = [rig.stream(channels=[name], everyone=False) for name in names]
        for name in names:
            rig.publish(repr(name)[:20], channels=[name])
        rig.settle()
        assert [stream.data for stream in streams] == [[repr(name)[:20]] for name in names]


def test_a_group_ends_with_its_last_member() -> None:
    with Rig() as rig:
        before = groups(rig)
        stream = rig.stream(channels=["a", "b"], users=["u"])
        assert groups(rig) == before + 3
        rig.engine.leave(stream.handle, channels=["a"])
        rig.step()
        assert groups(rig) == before + 2
        rig.engine.close(stream.handle, 2, flush=False)
        rig.settle()
        assert groups(rig) == before


def test_a_group_lives_while_the_log_refers_to_it() -> None:
    with Rig(log_events=4) as rig:
        before = groups(rig)
        rig.publish("kept", channels=["a"])
        rig.step()
        assert groups(rig) == before + 1
        for n in range(4):
            rig.publish(f"{n}")
            rig.step()
        # Evicted: now the group is kept for what it knows.
        assert groups(rig) == before + 1


def test_thousands_of_groups() -> None:
    """The table grows as it goes; every name is found again."""
    count = 5000
    with Rig() as rig:
        stream = rig.stream(channels=[f"c{n}" for n in range(count)], everyone=False)
        assert groups(rig) == count + 1
        for n in range(0, count, 97):
            assert rig.engine.publish(SSEEvent(f"{n}"), channels=[f"c{n}"])[1] == 1
        assert rig.engine.publish(SSEEvent("none"), channels=[f"c{count}"])[1] == 0
        rig.settle()
        assert stream.data == [f"{n}" for n in range(0, count, 97)]
        rig.engine.leave(stream.handle, channels=[f"c{n}" for n in range(count)])
        rig.step()
        assert rig.engine.publish(SSEEvent("late"), channels=["c0"])[1] == 0


def test_forgotten_groups_are_taken_to_have_lost_something() -> None:
    """Loss is never denied: beyond what can be kept, one number speaks for all."""
    with Rig(log_events=2) as rig:
        for n in range(KEPT + 100):
            rig.publish(f"{n}", channels=[f"c{n}"])
            rig.step()
        assert groups(rig) <= KEPT + 4
        # c0 was forgotten; what it lost is below the floor, and the floor says so.
        late = rig.stream(channels=["c0"], everyone=False, position=0)
        # The youngest of those that were forgotten is where the floor is.
        assert [event.event for event in late.events] == []
        rig.settle()
        assert [event.event for event in late.events] == ["h3py:reset"]
        # A group that is still kept knows exactly.
        exact = rig.stream(channels=[f"c{KEPT}"], everyone=False, position=KEPT + 1)
        rig.settle()
        assert exact.events == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=60))
def test_members_come_and_go_against_a_plain_set(deeds: list[tuple[bool, int]]) -> None:
    """Joining and leaving at random: an event reaches exactly the set's members."""
    with Rig() as rig:
        streams = [rig.stream(everyone=False) for _ in range(5)]
        members: list[set[str]] = [set() for _ in streams]
        for joins, number in deeds:
            which, name = number % 5, f"g{number % 7}"
            if joins:
                rig.engine.join(streams[which].handle, channels=[name])
                members[which].add(name)
            else:
                rig.engine.leave(streams[which].handle, channels=[name])
                members[which].discard(name)
            if number % 3 == 0:
                rig.step()
        for n in range(7):
            due = sum(f"g{n}" in mine for mine in members)
            assert rig.engine.publish(SSEEvent(f"g{n}"), channels=[f"g{n}"])[1] == due
        rig.settle()
        assert [set(stream.data) for stream in streams] == members
        found = [
            {name for kind, name in stream.info["groups"] if kind == "channel"}
            for stream in streams
        ]
        assert found == members
