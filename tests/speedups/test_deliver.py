"""What a live stream does with an entry: queue it, or what its policy says; entries together."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from tests.speedups.support.rig import Rig, Stream
from tests.speedups.support.wire import Wire

CAP = 3000
SIZE = 500


def stuck(rig: Rig, policy: str, **terms: object) -> tuple[Stream, list[str]]:
    """A stream whose queue has no room for one more event, and what was published so far."""
    stream = rig.stream(tiny=True, policy=policy, **terms)
    sent = []
    while rig.engine.queued_bytes(stream.handle) + SIZE + 50 <= CAP:
        sent.append(f"{len(sent)}-".ljust(SIZE, "x"))
        rig.publish(sent[-1])
        rig.step()
    return stream, sent


def numbers(data: list[str]) -> list[int]:
    return [int(text.partition("-")[0]) for text in data]


class TestPolicies:
    def test_close(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, _ = stuck(rig, "close")
            rig.publish("x" * SIZE)
            rig.step(2)
            assert stream.closed_as is CloseReason.SLOW

    def test_close_is_what_a_stream_has_that_was_told_nothing(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream = rig.adopt(tiny=True)
            rig.engine.subscribe(stream.handle)
            rig.step()
            assert stream.info["policy"] == "close"
            for _ in range(20):
                rig.publish("x" * SIZE)
                rig.step()
            assert stream.closed_as is CloseReason.SLOW

    def test_catch_up(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "catch_up")
            for n in range(len(sent), len(sent) + 20):
                rig.publish(f"{n}-".ljust(SIZE, "x"))
                rig.step()
            assert rig.engine.queued_bytes(stream.handle) <= CAP
            rig.settle()
            assert numbers(stream.data) == list(range(len(sent) + 20))
            assert stream.info["dropped"] == 0

    def test_drop_new(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "drop_new")
            for n in range(len(sent), len(sent) + 20):
                rig.publish(f"{n}-".ljust(SIZE, "x"))
                rig.step()
            rig.settle()
            got = numbers(stream.data)
            assert got == list(range(len(got)))
            assert stream.info["dropped"] == len(sent) + 20 - len(got)

    def test_drop_oldest(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "drop_oldest")
            for n in range(len(sent), len(sent) + 20):
                rig.publish(f"{n}-".ljust(SIZE, "x"))
                rig.step()
            rig.settle()
            got = numbers(stream.data)
            assert got == sorted(got)
            assert got[-3:] == [len(sent) + 17, len(sent) + 18, len(sent) + 19]
            assert stream.info["dropped"] == len(sent) + 20 - len(got)

    def test_drop_oldest_keeps_the_old_when_dropping_makes_no_room(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, _ = stuck(rig, "drop_oldest")
            queued = rig.engine.queued_bytes(stream.handle)
            rig.publish("y" * 2 * CAP)
            rig.step()
            assert rig.engine.queued_bytes(stream.handle) == queued
            assert stream.info["dropped"] == 1

    def test_what_was_sent_to_a_stream_alone_is_never_dropped(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "drop_oldest")
            rig.engine.send(stream.handle, SSEEvent("999-mine"))
            for n in range(len(sent), len(sent) + 20):
                rig.publish(f"{n}-".ljust(SIZE, "x"))
                rig.step()
            rig.settle()
            assert "999-mine" in stream.data

    def test_keep_latest(self) -> None:
        """Ids keep ascending: the old one goes, the new one comes at the end."""
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "keep_latest")
            for n in range(5):
                rig.publish(f"a{n}", everyone=True, key="a")
                rig.publish(f"b{n}", everyone=True, key="b")
                rig.publish(f"none{n}", everyone=True)
                rig.step()
            rig.settle()
            late = [data for data in stream.data if "-" not in data]
            assert [data for data in late if data[0] in "ab"] == ["a4", "b4"]
            assert [data for data in late if data[0] == "n"] == [f"none{n}" for n in range(5)]
            assert [event.sequence for event in stream.events] == sorted(
                event.sequence for event in stream.events
            )
            assert stream.info["dropped"] == len(sent) + 15 - len(stream.data) >= 8

    def test_a_key_replaces_nothing_that_has_begun(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream = rig.stream(tiny=True, policy="keep_latest")
            rig.publish("first".ljust(2 * SIZE * 10, "x"), everyone=True, key="a")
            rig.step()
            assert rig.engine.queued_bytes(stream.handle) > 0
            rig.publish("second", everyone=True, key="a")
            rig.settle()
            assert [data[:6] for data in stream.data] == ["firstx", "second"]

    @pytest.mark.parametrize(
        "policy", ["close", "catch_up", "drop_new", "drop_oldest", "keep_latest"]
    )
    def test_one_larger_event_is_taken_by_an_empty_queue(self, policy: str) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream = rig.stream(tiny=True, policy=policy)
            rig.publish("x" * 10 * CAP)
            rig.settle()
            assert [len(data) for data in stream.data] == [10 * CAP]
            assert stream.closed_as is None

    def test_a_policy_of_its_own_and_a_cap_of_its_own(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            small = rig.adopt(tiny=True, policy="drop_new", max_queue_bytes=600)
            rig.engine.subscribe(small.handle)
            large = rig.adopt(tiny=True, max_queue_bytes=1 << 20)
            rig.engine.subscribe(large.handle, policy="drop_oldest")
            rig.step()
            for _ in range(50):
                rig.publish("x" * SIZE)
                rig.step()
            assert rig.engine.queued_bytes(small.handle) <= 600
            assert small.info["dropped"] > 0
            assert rig.engine.queued_bytes(large.handle) > CAP
            assert large.info["dropped"] == 0


class TestNotices:
    def test_a_client_is_told_of_drops_once_there_is_room(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, sent = stuck(rig, "drop_new", notices=True)
            for n in range(len(sent), len(sent) + 7):
                rig.publish(f"{n}-".ljust(SIZE, "x"))
                rig.step()
            rig.settle()
            # It needs no further event to be told.
            assert stream.events[-1].event == "h3py:dropped"
            rig.publish("after")
            rig.settle()
            notices = [event for event in stream.events if event.event is not None]
            assert [event.event for event in notices] == ["h3py:dropped"]
            assert notices[0].id is None
            assert notices[0].data is not None
            told = json.loads(notices[0].data)
            assert told["missed"] == stream.info["dropped"] > 0
            assert told["reason"] == "queue_full"
            assert rig.engine.position_of(told["head"]) is not None
            assert stream.data[-1] == "after"

    def test_not_told_unless_asked_for(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream, _ = stuck(rig, "drop_new")
            for _ in range(7):
                rig.publish("x" * SIZE)
                rig.step()
            rig.settle()
            rig.publish("after")
            rig.settle()
            assert all(event.event is None for event in stream.events)


class TestWhere:
    where: ClassVar[dict[str, list[str]]] = {"room": ["a", "b"], "kind": ["news"]}

    @pytest.mark.parametrize(
        ("metadata", "comes"),
        [
            ({"room": "a", "kind": "news"}, True),
            ({"room": "b", "kind": "news", "more": "x"}, True),
            ({"room": "c", "kind": "news"}, False),
            ({"room": "a"}, False),
            ({"kind": "a", "room": "news"}, False),
            ({}, False),
            (None, False),
        ],
    )
    @pytest.mark.parametrize("replayed", [False, True])
    def test_every_condition_must_hold(
        self, metadata: dict[str, str] | None, comes: bool, replayed: bool
    ) -> None:
        with Rig() as rig:
            stream = None if replayed else rig.stream(where=self.where)
            _, addressed = rig.engine.publish(SSEEvent("x"), everyone=True, metadata=metadata)
            rig.step()
            if stream is None:
                stream = rig.stream(where=self.where, position=0)
            rig.settle()
            assert stream.data == (["x"] if comes else [])
            # Filters are not looked at when an event is published.
            assert addressed == (0 if replayed else 1)

    def test_one_accepted_value_may_stand_alone(self) -> None:
        with Rig() as rig:
            stream = rig.stream(where={"k": "value"})
            for value in ("value", "v", "a"):
                rig.engine.publish(SSEEvent(value), everyone=True, metadata={"k": value})
            rig.settle()
            assert stream.data == ["value"]

    @given(
        st.dictionaries(
            st.sampled_from("xyz"), st.sets(st.sampled_from("123"), min_size=1), min_size=1
        ),
        st.lists(st.dictionaries(st.sampled_from("xyz"), st.sampled_from("123")), max_size=8),
    )
    def test_against_plain_python(
        self, where: dict[str, set[str]], events: list[dict[str, str]]
    ) -> None:
        with Rig() as rig:
            stream = rig.stream(where=where)
            for n, metadata in enumerate(events):
                rig.engine.publish(SSEEvent(f"{n}"), everyone=True, metadata=metadata)
            rig.settle()
            assert stream.data == [
                f"{n}"
                for n, metadata in enumerate(events)
                if all(metadata.get(key) in accepted for key, accepted in where.items())
            ]


class TestTogether:
    """Events that wait leave in one piece of memory, as one chunk."""

    def test_what_was_published_at_once_leaves_at_once(self) -> None:
        with Rig() as rig:
            streams = [rig.stream() for _ in range(5)]
            for n in range(50):
                rig.publish(f"{n}")
            rig.step()
            for stream in streams:
                stream.read()
                assert stream.data == [f"{n}" for n in range(50)]
                assert len(stream.wire.chunks) == 1
            assert rig.engine.stats()["sends"] == 5

    def test_what_is_published_slowly_leaves_at_once(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            for n in range(5):
                rig.publish(f"{n}")
                rig.step()
                stream.read()
                assert stream.data[-1] == f"{n}"
            assert len(stream.wire.chunks) == 5

    def test_only_events_of_the_same_group_share_a_piece(self) -> None:
        with Rig() as rig:
            stream = rig.stream(channels=["a"])
            for targets in ({"everyone": True}, {"channels": ["a"]}, {"channels": ["a"]}):
                rig.publish("x", **targets)
            rig.publish("keyed", everyone=True, key="k")
            rig.publish("keyed", everyone=True, key="k")
            rig.step()
            stream.read()
            assert [chunk.count(b"data") for chunk in stream.wire.chunks] == [1, 2, 1, 1]

    def test_http_1_0_gets_the_same_events(self) -> None:
        with Rig() as rig:
            stream = rig.adopt(chunked=False)
            rig.engine.subscribe(stream.handle, policy="catch_up")
            rig.step()
            for n in range(50):
                rig.publish(f"{n}")
            rig.settle()
            assert stream.data == [f"{n}" for n in range(50)]

    @pytest.mark.parametrize("policy", ["catch_up", "drop_new"])
    def test_together_they_keep_to_the_cap(self, policy: str) -> None:
        """What does not fit as one piece is offered one by one."""
        with Rig(max_queue_bytes=CAP) as rig:
            stream = rig.stream(tiny=True, policy=policy)
            for n in range(200):
                rig.publish(f"{n}-".ljust(100, "x"))
                if rig.engine.queued_bytes(stream.handle) < CAP - 1000:
                    rig.step()
            rig.step(20)
            assert CAP - 200 < rig.engine.queued_bytes(stream.handle) <= CAP
            rig.settle()
            assert numbers(stream.data)[:20] == list(range(20))

    def test_a_round_is_bounded_so_that_a_live_queue_stays_below_its_cap(self) -> None:
        with Rig(max_queue_bytes=CAP) as rig:
            stream = rig.stream()
            for _ in range(100):
                rig.publish("x" * 300)
            while rig.engine.step():
                assert rig.engine.queued_bytes(stream.handle) <= CAP
            rig.settle()
            assert len(stream.data) == 100
            assert stream.kinds == []


def test_an_indirect_stream_is_served_like_any_other() -> None:
    with Rig(max_queue_bytes=CAP) as rig:
        handle = rig.engine.adopt(-1, "tls", WriteQueue(chunked=True), chunked=True, indirect=True)
        rig.engine.subscribe(handle, policy="drop_oldest", notices=True)
        rig.step()
        for n in range(20):
            rig.publish(f"{n}-".ljust(SIZE, "x"))
            rig.step()
        wire = Wire()
        while taken := rig.engine.take(handle, 700):
            wire.feed(taken)
        assert wire.torn == b""
        assert numbers(wire.data)[-1] == 19
        info = rig.engine.info(handle)
        assert info is not None
        assert info["dropped"] == 20 - len(wire.data) > 0
        rig.step()
        wire.feed(rig.engine.take(handle))
        assert wire.events[-1].event == "h3py:dropped"
