"""Memberships and rosters: joining, leaving, and how many streams an event addresses."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from tests.speedups.support.rig import Rig

CHANNELS = ("a", "b", "c")


def addressed(rig: Rig, **targets: object) -> int:
    return rig.engine.publish(SSEEvent("x"), **targets)[1]  # type: ignore[arg-type]


def test_joining_twice_is_joining_once() -> None:
    with Rig() as rig:
        stream = rig.stream(channels=["a"], everyone=False)
        rig.engine.join(stream.handle, channels=["a", "a", "b"])
        rig.engine.subscribe(stream.handle, channels=["b"], everyone=False)
        assert addressed(rig, channels=["a"]) == 1
        rig.settle()
        assert len(stream.data) == 1
        assert sorted(stream.info["groups"]) == [("channel", "a"), ("channel", "b")]
        rig.engine.leave(stream.handle, channels=["a"])
        assert addressed(rig, channels=["a"]) == 0


def test_leaving_twice_and_what_one_is_not_in() -> None:
    with Rig() as rig:
        stream = rig.stream(channels=["a"])
        rig.engine.leave(stream.handle, channels=["a", "nowhere"])
        rig.engine.leave(stream.handle, channels=["a"], users=["nobody"])
        rig.step()
        assert stream.info["groups"] == [("everyone", "")]


def test_leaving_and_joining_again_before_a_pump_has_looked() -> None:
    """Each has its place in the log, however often it happens."""
    with Rig() as rig:
        stream = rig.stream(everyone=False)
        due = []
        for n in range(10):
            rig.engine.join(stream.handle, channels=["a"])
            due.append(f"in {n}")
            rig.publish(f"in {n}", channels=["a"])
            rig.engine.leave(stream.handle, channels=["a"])
            rig.publish(f"out {n}", channels=["a"])
        rig.settle()
        assert stream.data == due
        assert stream.info["groups"] == []


def test_a_stream_in_several_groups_gets_an_event_once() -> None:
    with Rig() as rig:
        stream = rig.stream(channels=CHANNELS, users=["u"], client="me")
        count = addressed(rig, channels=CHANNELS, users=["u", "v"], clients=["me"], everyone=True)
        assert count == 1
        rig.settle()
        assert len(stream.data) == 1


@pytest.mark.parametrize("stepped", [True, False])
@given(
    streams=st.lists(st.sets(st.sampled_from([*CHANNELS, "*"])), max_size=8),
    targets=st.sets(st.sampled_from([*CHANNELS, "*", "none"]), min_size=1),
    left=st.integers(0, 7),
)
def test_addressed_streams_against_a_plain_count(
    stepped: bool, streams: list[set[str]], targets: set[str], left: int
) -> None:
    """The same before pumps have seen a membership, and after; with two pumps."""
    with Rig(pumps=2) as rig:
        made = []
        for names in streams:
            stream = rig.adopt()
            rig.engine.subscribe(
                stream.handle, channels=names - {"*"}, everyone="*" in names, policy="catch_up"
            )
            made.append(stream)
            if stepped:
                rig.step()
        if streams:
            streams = [set(names) for names in streams]
            rig.engine.leave(made[left % len(made)].handle, channels=["a"])
            streams[left % len(made)].discard("a")
        due = [bool(names & targets) for names in streams]
        found = addressed(rig, channels=targets - {"*"}, everyone="*" in targets)
        assert found == sum(due)
        rig.settle()
        assert [len(stream.data) for stream in made] == due


def test_rosters_stay_right_when_members_leave_in_any_order() -> None:
    """The last member takes the place of the one that leaves."""
    chance = random.Random(1)
    with Rig(pumps=2) as rig:
        streams = [rig.stream(channels=["a", f"own{n}"]) for n in range(40)]
        inside = set(range(40))
        while inside:
            leaver = chance.choice(sorted(inside))
            if chance.random() < 0.5:
                rig.engine.leave(streams[leaver].handle, channels=["a"])
            else:
                rig.engine.close(streams[leaver].handle, 2, flush=False)
            inside.discard(leaver)
            assert addressed(rig, channels=["a"]) == len(inside)
            rig.step()
            before = {n: len(streams[n].data) for n in inside}
            assert addressed(rig, channels=["a"]) == len(inside)
            rig.settle()
            assert all(len(streams[n].data) > before[n] for n in inside)


def test_a_membership_s_memory_is_given_back() -> None:
    with Rig(log_events=1) as rig:
        stream = rig.stream(everyone=False)
        rig.publish("x")
        rig.step()
        rig.engine.join(stream.handle, channels=["a"])
        rig.engine.leave(stream.handle, channels=["a"])
        rig.step()
        before = rig.engine.memory_bytes
        for turn in range(50):
            rig.engine.join(stream.handle, channels=[f"c{turn}"])
            rig.step()
            rig.engine.leave(stream.handle, channels=[f"c{turn}"])
            rig.step()
        assert rig.engine.memory_bytes == before


def test_more_groups_than_a_stream_can_be_in() -> None:
    with Rig() as rig:
        stream = rig.stream(everyone=False)
        names = [f"{n}" for n in range(65_536)]
        with pytest.raises(ValueError, match="65,535"):
            rig.engine.join(stream.handle, channels=names)
        assert stream.info["groups"] == []
        rig.engine.join(stream.handle, channels=names[:-1])
        with pytest.raises(ValueError, match="65,535"):
            rig.engine.join(stream.handle, channels=["one more"])
        rig.step()
        assert addressed(rig, channels=["7"]) == 1
