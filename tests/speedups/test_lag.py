"""Streams that are behind: replay, resets, pages, and what notices say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from h3py.errors import ConnectionClosed
from tests.speedups.support.rig import Rig

CHANNELS = ("a", "b")


class TestReplay:
    @given(
        events=st.lists(st.sampled_from([*CHANNELS, "*", "u"]), max_size=40),
        groups=st.sets(st.sampled_from([*CHANNELS, "*", "u"])),
        back=st.integers(0, 40),
        more=st.lists(st.sampled_from([*CHANNELS, "*", "u"]), max_size=5),
    )
    def test_what_was_missed_comes_in_order_before_what_is_new(
        self, events: list[str], groups: set[str], back: int, more: list[str]
    ) -> None:
        def publish(rig: Rig, number: int, target: str) -> None:
            name = {"*": {"everyone": True}, "u": {"users": ["u"]}}.get(target)
            rig.publish(f"{number}", **(name or {"channels": [target]}))

        with Rig() as rig:
            for number, target in enumerate(events):
                publish(rig, number, target)
            rig.step(3)
            position = max(0, len(events) - back)
            stream = rig.adopt()
            rig.engine.subscribe(
                stream.handle,
                position=position,
                channels=groups & set(CHANNELS),
                users=groups & {"u"},
                everyone="*" in groups,
            )
            for number, target in enumerate(more, len(events)):
                publish(rig, number, target)
            rig.settle()
            whole = [*events, *more]
            assert stream.data == [
                f"{n}" for n in range(position, len(whole)) if whole[n] in groups
            ]

    def test_a_channel_joined_later_brings_back_nothing(self) -> None:
        with Rig() as rig:
            rig.publish("old b", channels=["b"])
            rig.publish("old a", channels=["a"])
            rig.step()
            stream = rig.stream(channels=["a"], everyone=False, position=0)
            rig.engine.join(stream.handle, channels=["b"])
            rig.publish("new b", channels=["b"])
            rig.settle()
            assert stream.data == ["old a", "new b"]

    def test_an_event_of_several_groups_comes_once(self) -> None:
        with Rig() as rig:
            rig.publish("x", channels=["a", "b"], everyone=True)
            rig.step()
            stream = rig.stream(channels=["a", "b"], position=0)
            rig.settle()
            assert stream.data == ["x"]

    def test_a_replay_larger_than_the_queue_goes_on_as_the_client_reads(self) -> None:
        with Rig(max_queue_bytes=2000) as rig:
            for n in range(300):
                rig.publish(f"{n}-".ljust(100, "x"))
                rig.step()
            stream = rig.stream(tiny=True, position=0)
            rig.step(5)
            assert stream.state == "lagging"
            assert rig.engine.queued_bytes(stream.handle) <= 2000
            rig.settle()
            assert [event.sequence for event in stream.events] == list(range(1, 301))
            assert stream.kinds == ["caught_up"]

    def test_a_rarely_addressed_stream_walks_a_long_log(self) -> None:
        """Entries that are not for it cost it no room, only rounds."""
        with Rig() as rig:
            rig.publish("first", channels=["a"])
            for n in range(2000):
                rig.publish(f"{n}", channels=["b"])
                if n % 200 == 0:
                    rig.step()
            rig.publish("last", channels=["a"])
            rig.settle()
            stream = rig.stream(channels=["a"], everyone=False, position=0)
            rig.settle()
            assert stream.data == ["first", "last"]

    def test_many_who_return_at_once_share_the_rounds(self) -> None:
        with Rig(max_queue_bytes=3000) as rig:
            for n in range(200):
                rig.publish(f"{n}-".ljust(100, "x"))
                rig.step()
            streams = [rig.adopt(tiny=True) for _ in range(20)]
            for stream in streams:
                rig.engine.subscribe(stream.handle, position=0)
            rig.engine.step()
            taken = [rig.engine.queued_bytes(stream.handle) + stream.read() for stream in streams]
            assert min(taken) > 0
            assert max(taken) <= 3000
            rig.settle()
            assert all(len(stream.data) == 200 for stream in streams)


class TestReset:
    def test_what_it_says(self) -> None:
        with Rig(log_events=4, epoch=0xAB) as rig:
            for n in range(10):
                rig.publish(f"{n}")
                rig.step()
            stream = rig.stream(position=2)
            rig.settle()
            (reset,) = stream.events
            assert reset.event == "h3py:reset"
            assert reset.id == "0000000000ab-00000000000a"
            assert reset.data is not None
            assert json.loads(reset.data) == {"reason": "evicted", "missed": None, "head": reset.id}
            rig.publish("next")
            rig.settle()
            assert stream.data[1:] == ["next"]

    def test_the_next_reconnect_is_not_another_one(self) -> None:
        with Rig(log_events=4) as rig:
            for n in range(10):
                rig.publish(f"{n}")
                rig.step()
            first = rig.stream(position=2)
            rig.settle()
            assert first.events[0].id is not None
            position = rig.engine.position_of(first.events[0].id)
            second = rig.stream(position=position)
            rig.publish("next")
            rig.settle()
            assert second.data == ["next"]

    @pytest.mark.parametrize(("position", "lost"), [(4, True), (5, True), (6, False), (9, False)])
    def test_at_the_edge_of_the_log(self, position: int, lost: bool) -> None:
        with Rig(log_events=4) as rig:
            for n in range(1, 11):
                rig.publish(f"{n}")
                rig.step()
            assert rig.engine.tail == 7
            stream = rig.stream(position=position)
            rig.settle()
            if lost:
                assert [event.event for event in stream.events] == ["h3py:reset"]
            else:
                assert stream.data == [f"{n}" for n in range(position + 1, 11)]

    def test_it_goes_on_at_the_oldest_entry_when_nothing_of_its_own_was_lost(self) -> None:
        with Rig(log_events=4) as rig:
            for n in range(1, 8):
                rig.publish(f"{n}", channels=["own" if n == 4 else "other"])
                rig.step()
            assert rig.engine.tail == 4
            stream = rig.stream(channels=["own"], everyone=False, position=0)
            rig.settle()
            assert stream.data == ["4"]

    def test_a_client_of_another_epoch(self) -> None:
        with Rig() as rig:
            rig.publish("before")
            rig.step()
            stream = rig.adopt()
            rig.engine.subscribe(stream.handle, lost=True)
            rig.publish("after")
            rig.settle()
            assert [event.event for event in stream.events] == ["h3py:reset", None]
            assert stream.data[1] == "after"
            with pytest.raises(ValueError, match="without lost"):
                rig.engine.subscribe(rig.adopt().handle, lost=True, position=1)

    def test_loss_of_a_group_that_was_left_in_time_is_none(self) -> None:
        with Rig(log_events=4, max_queue_bytes=1500) as rig:
            stream = rig.stream(tiny=True, channels=["a"])
            rig.engine.leave(stream.handle, channels=["a"])
            rig.fill(stream, "lagging")
            assert rig.engine.info(stream.handle)["groups"] == [("everyone", "")]  # type: ignore[index]
            for n in range(3):
                rig.publish(f"{n}", channels=["a"])
                rig.step()
            rig.settle()
            assert all(event.event is None for event in stream.events)


class TestPages:
    def lagging(self, rig: Rig) -> None:
        for n in range(1, 21):
            rig.publish(f"{n}")
            rig.step()

    def test_pages_until_the_log_goes_on(self) -> None:
        with Rig(log_events=5, paging=True) as rig:
            self.lagging(rig)
            stream = rig.stream(position=3)
            asked = []
            while stream.state == "paging":
                (page,) = [report for report in stream.reports if report.kind == "page"][-1:]
                asked.append(page.detail)
                end = min(page.detail + 4, 17)
                rig.engine.page(
                    stream.handle,
                    [(n, SSEEvent(f"{n}")) for n in range(page.detail + 1, end + 1)],
                    end,
                )
                rig.settle()
            assert asked == [3, 7, 11]
            assert stream.data == [f"{n}" for n in range(4, 21)]
            assert [event.sequence for event in stream.events] == list(range(4, 21))
            assert stream.kinds[-1] == "caught_up"

    def test_a_page_that_nobody_asked_for(self) -> None:
        with Rig(paging=True) as rig:
            stream = rig.stream()
            with pytest.raises(ConnectionClosed, match="waits for no page"):
                rig.engine.page(stream.handle, [(1, SSEEvent("x"))], 1)
            assert rig.engine.stats()["blocks"] == 1

    def test_a_page_is_answered_once(self) -> None:
        with Rig(log_events=5, paging=True) as rig:
            self.lagging(rig)
            stream = rig.stream(position=3)
            rig.engine.page(stream.handle, [(4, SSEEvent("4"))], 4)
            with pytest.raises(ConnectionClosed):
                rig.engine.page(stream.handle, [(4, SSEEvent("4"))], 4)
            rig.settle()
            assert stream.data == ["4"]

    def test_a_page_goes_on_only_when_it_has_been_sent(self) -> None:
        with Rig(log_events=5, paging=True, max_queue_bytes=2000) as rig:
            self.lagging(rig)
            stream = rig.stream(tiny=True, position=3)
            rig.engine.page(stream.handle, [(n, SSEEvent("x" * 900)) for n in range(4, 14)], 13)
            rig.step(5)
            assert stream.kinds == ["page"]
            rig.settle()
            assert stream.kinds == ["page", "page"]
            assert stream.reports[-1].detail == 13

    def test_what_is_no_event_takes_nothing(self) -> None:
        with Rig(log_events=5, paging=True) as rig:
            self.lagging(rig)
            stream = rig.stream(position=3)
            blocks = rig.engine.stats()["blocks"]
            with pytest.raises(TypeError):
                rig.engine.page(stream.handle, [(4, SSEEvent("4")), (5, "5")], 5)  # type: ignore[list-item]
            assert rig.engine.stats()["blocks"] == blocks
            rig.engine.page(stream.handle, [], None)
            rig.settle()
            assert [event.event for event in stream.events] == ["h3py:reset"]


class TestHeartbeatIds:
    def test_they_move_the_position_silently(self) -> None:
        with Rig(heartbeat_s=10.0, heartbeat_ids=True) as rig:
            stream = rig.stream(channels=["a"], everyone=False)
            for n in range(3):
                rig.publish(f"{n}", channels=["b"])
            rig.step()
            rig.clock.advance(10.0)
            rig.settle()
            (beat,) = stream.events
            assert beat.comment
            assert beat.data is None
            assert beat.sequence == 3
            back = rig.stream(channels=["a"], everyone=False, position=beat.sequence)
            assert back.state == "live"

    def test_each_position_has_its_own(self) -> None:
        with Rig(heartbeat_s=10.0, heartbeat_ids=True) as rig:
            stream = rig.stream(everyone=False)
            for _ in range(3):
                rig.publish("x")
                rig.step()
                rig.clock.advance(10.0)
                rig.settle()
            assert [event.sequence for event in stream.events] == [1, 2, 3]
