"""Every cell of the state table in docs/engine.md, one test each, with one pump and with two.

A cell is a function of a rig and a stream that is in the row's state; it does the
column's deed and checks what the table says. Sockets are tiny, so that a client
who does not read blocks its stream after a few events.

It is longer than others: the table has 35 cells, and is read beside them as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.errors import BufferFull, ConnectionClosed
from tests.speedups.support.rig import Rig, Stream
from tests.support.process import ROOT

STATES = ("switching", "live", "lagging", "paging", "closing")
DEEDS = ("publish", "drain", "join", "leave", "send", "close", "reset")

Cell = Callable[[Rig, Stream], None]
CELLS: dict[tuple[str, str], Cell] = {}

DONE = CloseReason.HANDLER_DONE
KICKED = CloseReason.KICKED
LOG_EVENTS = 16


def cell(state: str, deed: str) -> Callable[[Cell], Cell]:
    def enter(check: Cell) -> Cell:
        assert (state, deed) not in CELLS
        CELLS[state, deed] = check
        return check

    return enter


def bring_to(rig: Rig, state: str) -> Stream:
    """A stream in that state. It is in the channel ``old``, and client ``me``."""
    terms = {"channels": ["old"], "client": "me", "policy": "catch_up"}
    if state == "switching":
        stream = rig.adopt(tiny=True)
        rig.engine.subscribe(stream.handle, **terms)
        return stream
    stream = rig.stream(tiny=True, **terms)
    if state in ("lagging", "paging", "closing"):
        rig.fill(stream, "lagging")
    if state == "paging":
        for n in range(LOG_EVENTS + 1):
            rig.publish(f"lost-{n}")
            rig.step()
        while stream.state != "paging":
            assert stream.read() or rig.engine.step()
            rig.step()
    if state == "closing":
        rig.engine.close(stream.handle, DONE.code)
        while stream.state != "closing":
            # What it lags behind is still read for it, until its own end.
            assert stream.read(2000)
            rig.step()
    assert stream.state == state
    return stream


def finish(rig: Rig, stream: Stream, reason: CloseReason = DONE) -> None:
    """Close the stream, read to its end, and see that this was clean."""
    if rig.engine.is_open(stream.handle):
        rig.engine.close(stream.handle, reason.code)
    rig.settle()
    assert stream.wire.ended
    assert stream.eof
    stream.client.close()
    rig.settle(read=False)
    assert stream.closed_as is reason
    assert stream.kinds[-1] == "closed"


def is_tail_of(part: list[str], whole: list[str]) -> bool:
    return whole[len(whole) - len(part) :] == part


# -- switching: adopted, not taken in yet --------------------------------------------


@cell("switching", "publish")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("one")
    rig.publish("two", channels=["old"])
    assert stream.read() == 0
    rig.settle()
    assert stream.data == ["one", "two"]
    assert stream.state == "live"


@cell("switching", "drain")
def _(rig: Rig, stream: Stream) -> None:
    # Its socket has room: nothing comes of it before it is taken in.
    assert stream.read() == 0
    assert stream.kinds == []
    rig.step()
    assert stream.state == "live"


@cell("switching", "join")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["new"])
    rig.engine.join(stream.handle, channels=["new"])
    rig.publish("after", channels=["new"])
    rig.settle()
    assert stream.data == ["after"]


@cell("switching", "leave")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["old"])
    rig.engine.leave(stream.handle, channels=["old"])
    rig.publish("after", channels=["old"])
    rig.settle()
    assert stream.data == ["before"]


@cell("switching", "send")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("one")
    rig.engine.send(stream.handle, SSEEvent("mine"))
    rig.publish("two")
    rig.settle()
    assert stream.data == ["one", "mine", "two"]


@cell("switching", "close")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before")
    assert rig.engine.close(stream.handle, KICKED.code)
    rig.publish("after")
    finish(rig, stream, KICKED)
    assert stream.data == ["before"]


@cell("switching", "reset")
def _(rig: Rig, stream: Stream) -> None:
    # Only an engine that keeps no older history resets; this one asks for a page.
    assert stream.kinds == []
    late = rig.adopt(tiny=True)
    for n in range(LOG_EVENTS + 1):
        rig.publish(f"old-{n}")
        rig.step()
    again = rig.adopt(tiny=True)
    rig.engine.subscribe(again.handle, position=0)
    assert again.state == "switching"
    rig.step()
    assert again.state == "paging"
    assert [report.detail for report in again.reports] == [0]
    assert late.kinds == []


# -- live ----------------------------------------------------------------------------


@cell("live", "publish")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("one")
    rig.publish("mine", clients=["me"])
    rig.publish("not mine", clients=["you"])
    rig.settle()
    assert stream.data == ["one", "mine"]
    assert stream.state == "live"
    rig.fill(stream, "lagging")
    assert "lagging" in stream.kinds


@cell("live", "drain")
def _(rig: Rig, stream: Stream) -> None:
    while True:
        try:
            rig.engine.send(stream.handle, b":" + b"x" * 500 + b"\n\n")
        except BufferFull:
            break
        rig.step()
    assert stream.state == "live"
    assert stream.kinds == []
    rig.settle()
    assert stream.kinds == ["space"]
    assert rig.engine.queued_bytes(stream.handle) == 0
    assert stream.state == "live"


@cell("live", "join")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["new"])
    rig.engine.join(stream.handle, channels=["new"])
    rig.publish("after", channels=["new"])
    rig.settle()
    assert stream.data == ["after"]
    assert ("channel", "new") in stream.info["groups"]


@cell("live", "leave")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["old"])
    rig.engine.leave(stream.handle, channels=["old"])
    rig.publish("after", channels=["old"])
    rig.publish("all")
    rig.settle()
    assert stream.data == ["before", "all"]
    assert ("channel", "old") not in stream.info["groups"]


@cell("live", "send")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("one")
    rig.engine.send(stream.handle, SSEEvent("mine"))
    rig.publish("two")
    rig.settle()
    assert stream.data == ["one", "mine", "two"]
    with pytest.raises(BufferFull):
        for _n in range(200):
            rig.engine.send(stream.handle, SSEEvent("x" * 500))


@cell("live", "close")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before")
    assert rig.engine.close(stream.handle, KICKED.code)
    rig.publish("after")
    rig.step()
    assert stream.state == "closing"
    finish(rig, stream, KICKED)
    assert stream.data == ["before"]


@cell("live", "reset")
def _(rig: Rig, stream: Stream) -> None:
    # It has everything, so what leaves the log is no loss to it.
    for n in range(3 * LOG_EVENTS):
        rig.publish(f"{n}")
        rig.step()
        stream.read()
    assert rig.engine.tail > 2 * LOG_EVENTS
    assert stream.data == [f"{n}" for n in range(3 * LOG_EVENTS)]
    assert stream.kinds == []


# -- lagging -------------------------------------------------------------------------


@cell("lagging", "publish")
def _(rig: Rig, stream: Stream) -> None:
    queued = rig.engine.queued_bytes(stream.handle)
    rig.publish("late")
    rig.step(3)
    assert stream.state == "lagging"
    assert rig.engine.queued_bytes(stream.handle) == queued
    rig.settle()
    assert stream.data[-1] == "late"


@cell("lagging", "drain")
def _(rig: Rig, stream: Stream) -> None:
    assert stream.kinds == ["lagging"]
    rig.settle()
    assert stream.state == "live"
    assert stream.kinds == ["lagging", "caught_up"]
    assert [event.sequence for event in stream.events] == list(range(1, rig.engine.head + 1))


@cell("lagging", "join")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["new"])
    rig.engine.join(stream.handle, channels=["new"])
    rig.publish("after", channels=["new"])
    rig.step(2)
    assert stream.state == "lagging"
    rig.settle()
    assert stream.data[-1] == "after"
    assert "before" not in stream.data


@cell("lagging", "leave")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["old"])
    rig.engine.leave(stream.handle, channels=["old"])
    rig.publish("after", channels=["old"])
    rig.step(2)
    assert stream.state == "lagging"
    rig.settle()
    assert stream.data[-1] == "before"


@cell("lagging", "send")
def _(rig: Rig, stream: Stream) -> None:
    stream.rig.publish("one")
    try:
        rig.engine.send(stream.handle, SSEEvent("mine"))
        taken = ["mine"]
    except BufferFull:
        taken = []
    rig.publish("two")
    rig.step(2)
    assert stream.state == "lagging"
    rig.settle()
    assert is_tail_of(["one", *taken, "two"], stream.data)
    with pytest.raises(BufferFull):
        for _n in range(200):
            rig.engine.send(stream.handle, SSEEvent("x" * 500))


@cell("lagging", "close")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before")
    assert rig.engine.close(stream.handle, KICKED.code)
    rig.publish("after")
    rig.step(2)
    assert stream.state == "lagging"
    finish(rig, stream, KICKED)
    assert stream.data[-1] == "before"


@cell("lagging", "reset")
def _(rig: Rig, stream: Stream) -> None:
    behind = len(stream.data)
    for n in range(2 * LOG_EVENTS):
        rig.publish(f"gone-{n}")
        rig.step()
    assert stream.state == "lagging"
    rig.settle()
    # One of its groups lost something: this engine asks for a page (others reset: below).
    assert stream.state == "paging"
    position = stream.reports[-1].detail
    assert behind <= position < rig.engine.tail - 1
    assert stream.events[-1].sequence <= position


# -- paging --------------------------------------------------------------------------


@cell("paging", "publish")
def _(rig: Rig, stream: Stream) -> None:
    before = list(stream.data)
    rig.publish("new")
    rig.settle()
    assert stream.state == "paging"
    assert stream.data == before


@cell("paging", "drain")
def _(rig: Rig, stream: Stream) -> None:
    rig.settle()
    pages = [report for report in stream.reports if report.kind == "page"]
    assert len(pages) == 1, "one page is asked for at a time"
    position = pages[0].detail
    # A page that does not reach the log: the next one is asked for when this one is sent.
    rig.engine.page(stream.handle, [(position + 1, SSEEvent("page-1"))], position + 1)
    rig.settle()
    pages = [report for report in stream.reports if report.kind == "page"]
    assert [report.detail for report in pages] == [position, position + 1]
    assert stream.state == "paging"
    assert stream.data[-1] == "page-1"
    assert stream.events[-1].sequence == position + 1
    rig.engine.page(stream.handle, [], rig.engine.tail - 1)
    rig.settle()
    assert stream.state == "live"
    assert stream.events[-1].sequence == rig.engine.head


@cell("paging", "join")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["new"])
    rig.engine.join(stream.handle, channels=["new"])
    rig.publish("after", channels=["new"])
    rig.step()
    assert stream.state == "paging"
    rig.engine.page(stream.handle, [], rig.engine.tail - 1)
    rig.settle()
    assert stream.data[-1] == "after"
    assert "before" not in stream.data


@cell("paging", "leave")
def _(rig: Rig, stream: Stream) -> None:
    rig.publish("before", channels=["old"])
    rig.engine.leave(stream.handle, channels=["old"])
    rig.publish("after", channels=["old"])
    rig.step()
    assert stream.state == "paging"
    rig.engine.page(stream.handle, [], rig.engine.tail - 1)
    rig.settle()
    assert stream.data[-1] == "before"


@cell("paging", "send")
def _(rig: Rig, stream: Stream) -> None:
    rig.settle()
    rig.engine.send(stream.handle, SSEEvent("mine"))
    rig.publish("after")
    rig.settle()
    assert stream.state == "paging"
    assert "mine" not in stream.data
    head = rig.engine.head
    rig.engine.page(stream.handle, [(head - 2, SSEEvent("page"))], rig.engine.tail - 1)
    rig.settle()
    assert is_tail_of(["mine", "after"], stream.data)
    assert "page" in stream.data
    with pytest.raises(BufferFull):
        for _n in range(200):
            rig.engine.send(stream.handle, SSEEvent("x" * 500))


@cell("paging", "close")
def _(rig: Rig, stream: Stream) -> None:
    rig.settle()
    seen = list(stream.data)
    assert rig.engine.close(stream.handle, KICKED.code)
    rig.step()
    assert stream.state == "closing"
    with pytest.raises(ConnectionClosed):
        rig.engine.page(stream.handle, [(1, SSEEvent("page"))], 1)
    finish(rig, stream, KICKED)
    assert stream.data == seen


@cell("paging", "reset")
def _(rig: Rig, stream: Stream) -> None:
    rig.settle()
    rig.engine.page(stream.handle, [], None)
    rig.settle()
    assert stream.state == "live"
    assert stream.events[-1].event == "h3py:reset"
    assert stream.events[-1].sequence == rig.engine.head
    rig.publish("goes on")
    rig.settle()
    assert stream.data[-1] == "goes on"


# -- closing -------------------------------------------------------------------------


@cell("closing", "publish")
def _(rig: Rig, stream: Stream) -> None:
    _, addressed = rig.engine.publish(SSEEvent("late"), everyone=True)
    assert addressed == len(rig.streams) - 1
    finish(rig, stream)
    assert "late" not in stream.data


@cell("closing", "drain")
def _(rig: Rig, stream: Stream) -> None:
    assert not stream.wire.ended
    finish(rig, stream)
    assert [event.sequence for event in stream.events] == list(range(1, rig.engine.head + 1))


@cell("closing", "join")
def _(rig: Rig, stream: Stream) -> None:
    with pytest.raises(ConnectionClosed):
        rig.engine.join(stream.handle, channels=["new"])
    with pytest.raises(ConnectionClosed):
        rig.engine.subscribe(stream.handle, channels=["new"])
    finish(rig, stream)


@cell("closing", "leave")
def _(rig: Rig, stream: Stream) -> None:
    rig.engine.leave(stream.handle, channels=["old"])
    finish(rig, stream)


@cell("closing", "send")
def _(rig: Rig, stream: Stream) -> None:
    with pytest.raises(ConnectionClosed):
        rig.engine.send(stream.handle, SSEEvent("late"))
    finish(rig, stream)
    assert "late" not in stream.data


@cell("closing", "close")
def _(rig: Rig, stream: Stream) -> None:
    assert not rig.engine.close(stream.handle, KICKED.code)
    finish(rig, stream, DONE)


@cell("closing", "reset")
def _(rig: Rig, stream: Stream) -> None:
    for n in range(2 * LOG_EVENTS):
        rig.publish(f"{n}")
        rig.step()
    finish(rig, stream)
    assert all(event.event is None for event in stream.events)


@pytest.mark.parametrize("pumps", [1, 2])
@pytest.mark.parametrize(("state", "deed"), CELLS)
def test_cell(state: str, deed: str, pumps: int) -> None:
    with Rig(pumps=pumps, log_events=LOG_EVENTS, max_queue_bytes=2000, paging=True) as rig:
        # Another stream, so that with two pumps both have one.
        other = rig.stream()
        stream = bring_to(rig, state)
        CELLS[state, deed](rig, stream)
        assert other.state == "live"


def test_every_cell_is_here_and_in_the_documentation() -> None:
    assert sorted(CELLS) == sorted((state, deed) for state in STATES for deed in DEEDS)
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "engine.md").read_text().splitlines()
        if line.startswith("|")
    ]
    header = next(row for row in rows if row[1:3] == ["publish", "drain (its socket has room)"])
    assert tuple(name.split(" (")[0] for name in header[1:]) == DEEDS
    named = {row[0].strip("*"): row[1:] for row in rows if row[0].startswith("**")}
    assert tuple(named) == STATES
    assert all(all(cells) and len(cells) == len(DEEDS) for cells in named.values())


@pytest.mark.parametrize("pumps", [1, 2])
def test_without_paging_a_loss_is_told_once_and_only_where_it_happened(pumps: int) -> None:
    with Rig(pumps=pumps, log_events=LOG_EVENTS, max_queue_bytes=2000) as rig:
        loser = rig.stream(tiny=True, channels=["a"])
        other = rig.stream(tiny=True, channels=["b"], everyone=False)
        rig.publish("first", channels=["b"])
        rig.fill(loser, "lagging")
        for n in range(2 * LOG_EVENTS):
            rig.publish(f"{n}", channels=["a"])
            rig.step()
        rig.publish("last", channels=["b"])
        rig.settle()
        assert [event.event for event in loser.events].count("h3py:reset") == 1
        reset = loser.events[-1]
        assert reset.sequence == rig.engine.head
        assert reset.data is not None
        assert f'"head":"{rig.engine.event_id(rig.engine.head)}"' in reset.data
        assert loser.kinds == ["lagging", "reset", "caught_up"]
        assert other.data == ["first", "last"]


def test_what_left_the_log_is_no_loss_when_it_was_another_group_s() -> None:
    with Rig(log_events=LOG_EVENTS, max_queue_bytes=2000) as rig:
        stream = rig.stream(channels=["a"], everyone=False)
        mine = rig.publish("mine", channels=["a"])
        for n in range(3 * LOG_EVENTS):
            rig.publish(f"{n}", channels=["b"])
            rig.step()
        rig.settle()
        assert stream.data == ["mine"]
        back = rig.stream(channels=["a"], everyone=False, position=mine)
        assert back.state == "live"
        rig.publish("next", channels=["a"])
        rig.settle()
        assert back.data == ["next"]
        # One who saw nothing of it has lost one event.
        late = rig.stream(channels=["a"], everyone=False, position=mine - 1)
        rig.settle()
        assert [event.event for event in late.events] == ["h3py:reset"]
