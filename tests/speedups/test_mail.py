"""What is asked of a pump takes effect in the order in which it was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.errors import BackpressureDetected, BufferFull, ConnectionClosed
from tests.speedups.support.rig import Rig

deeds = st.lists(
    st.sampled_from(
        ["publish a", "publish b", "send", "join a", "join b", "leave a", "leave b", "step"]
    ),
    max_size=50,
)


@pytest.mark.parametrize("pumps", [1, 2])
@pytest.mark.parametrize("lagging", [False, True])
@given(deeds=deeds, close=st.booleans())
def test_any_order_of_deeds(pumps: int, lagging: bool, deeds: list[str], close: bool) -> None:
    """However rarely the pump looks, and however far behind the stream is."""
    with Rig(pumps=pumps, max_queue_bytes=4000) as rig:
        stream = rig.stream(tiny=True, everyone=False, channels=["fill"])
        due = []
        if lagging:
            while stream.state != "lagging":
                due.append("fill".ljust(900, "."))
                rig.publish(due[-1], channels=["fill"])
                rig.step()
        inside: set[str] = set()
        for number, deed in enumerate(deeds):
            what, _, name = deed.partition(" ")
            if what == "publish":
                rig.publish(f"{number}", channels=[name])
                if name in inside:
                    due.append(f"{number}")
            elif what == "send":
                try:
                    rig.engine.send(stream.handle, SSEEvent(f"{number}"))
                    due.append(f"{number}")
                except BufferFull:
                    assert lagging
            elif what == "join":
                rig.engine.join(stream.handle, channels=[name])
                inside.add(name)
            elif what == "leave":
                rig.engine.leave(stream.handle, channels=[name])
                inside.discard(name)
            else:
                rig.step()
        if close:
            rig.engine.close(stream.handle, CloseReason.KICKED.code)
            rig.publish("late", channels=["a", "b", "fill"])
        rig.settle()
        assert stream.data == due
        assert stream.wire.ended == close


def test_what_was_sent_before_the_subscription_comes_before_what_it_brings_back() -> None:
    with Rig() as rig:
        for n in range(5):
            rig.publish(f"{n}")
        rig.step()
        stream = rig.adopt()
        rig.engine.send(stream.handle, SSEEvent("welcome"))
        rig.engine.subscribe(stream.handle, position=2)
        rig.engine.send(stream.handle, SSEEvent("after"))
        rig.publish("5")
        rig.settle()
        assert stream.data == ["welcome", "2", "3", "4", "after", "5"]


def test_a_subscription_in_the_midst_of_unwalked_entries() -> None:
    """The pump has walked nothing; the client has seen a part."""
    with Rig() as rig:
        for n in range(6):
            rig.publish(f"{n}")
        stream = rig.adopt()
        rig.engine.subscribe(stream.handle, position=4)
        late = rig.adopt()
        rig.engine.subscribe(late.handle)
        rig.publish("6")
        rig.settle()
        assert stream.data == ["4", "5", "6"]
        assert late.data == ["6"]


def test_a_position_ahead_of_the_log_is_its_head() -> None:
    with Rig() as rig:
        rig.publish("1")
        stream = rig.adopt()
        rig.engine.subscribe(stream.handle, position=1000)
        rig.publish("2")
        rig.settle()
        assert stream.data == ["2"]


def test_an_end_that_is_hurried() -> None:
    """A gentle end may be made a quick one; its reason stays."""
    with Rig() as rig:
        stream = rig.stream(tiny=True)
        rig.fill(stream, "lagging")
        assert rig.engine.close(stream.handle, CloseReason.KICKED.code)
        rig.step()
        assert stream.state == "lagging"
        assert not rig.engine.close(stream.handle, CloseReason.ERROR.code, flush=False)
        rig.step(2)
        assert stream.closed_as is CloseReason.KICKED


def test_closing_and_aborting_before_the_pump_has_looked() -> None:
    with Rig() as rig:
        stream = rig.adopt()
        assert rig.engine.close(stream.handle, CloseReason.KICKED.code)
        assert not rig.engine.close(stream.handle, CloseReason.ERROR.code, flush=False)
        rig.step(2)
        assert stream.closed_as is CloseReason.KICKED
        stream.read()
        assert stream.eof


def test_a_refused_send_is_told_of_room_even_if_there_is_some_by_then() -> None:
    """The client reads between the refusal and the pump's next round."""
    with Rig(max_queue_bytes=1000) as rig:
        stream = rig.stream(tiny=True)
        with pytest.raises(BufferFull):
            while True:
                rig.engine.send(stream.handle, b":" + b"x" * 300 + b"\n\n")
        rig.settle()
        assert stream.kinds == ["space"]
        assert [report.detail for report in stream.reports] == [0]


def test_mail_for_many_connections_at_once() -> None:
    """More than are taken in one hold of the lock."""
    with Rig() as rig:
        streams = [rig.adopt() for _ in range(300)]
        for n, stream in enumerate(streams):
            rig.engine.subscribe(stream.handle, channels=[f"{n % 10}"], everyone=False)
        assert rig.engine.publish(SSEEvent("three"), channels=["3"])[1] == 30
        rig.settle()
        assert [stream.data for stream in streams] == [
            ["three"] if n % 10 == 3 else [] for n in range(300)
        ]


def test_a_full_log_and_a_stream_that_joins_then() -> None:
    with Rig(log_events=3) as rig:
        old = rig.stream()
        for n in range(3):
            rig.publish(f"{n}")
        new = rig.adopt()
        rig.engine.subscribe(new.handle)
        with pytest.raises(BackpressureDetected):
            rig.publish("no")
        rig.settle()
        rig.publish("3")
        rig.settle()
        assert old.data == ["0", "1", "2", "3"]
        assert new.data == ["3"]


def test_nothing_is_asked_of_what_is_ending() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.engine.close(stream.handle, CloseReason.KICKED.code)
        for ask in (
            lambda: rig.engine.send(stream.handle, b"x"),
            lambda: rig.engine.join(stream.handle, channels=["a"]),
            lambda: rig.engine.subscribe(stream.handle),
        ):
            with pytest.raises(ConnectionClosed):
                ask()
        rig.engine.leave(stream.handle, channels=["a"])
        assert not rig.engine.is_open(stream.handle)
