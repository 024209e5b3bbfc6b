"""Streams: driven, parked, ended once, whatever the cause and whoever is first.

A ``SoloStream`` is the host here: a stream with nothing around it. What servers
do with streams is tested with the backends.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from h3py import (
    BackpressureDetected,
    CloseReason,
    ConnectionLost,
    EventTooLarge,
    SSEEvent,
    WriterClosed,
)
from h3py.sse.host import StreamState
from h3py.testing import SoloStream, memory_pair, memory_stream, thread_stream
from tests.support.wait import DEADLINE_S, wait_until

KINDS: dict[str, Callable[..., SoloStream]] = {"memory": memory_stream, "threads": thread_stream}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., SoloStream]]:
    made: list[SoloStream] = []

    def make_one(**options: int) -> SoloStream:
        made.append(KINDS[request.param](**options))
        return made[-1]

    yield make_one
    for solo in made:
        solo.stream.finish(CloseReason.HANDLER_DONE)
        if solo.stream.end(CloseReason.HANDLER_DONE):
            wait_until(lambda solo=solo: solo.close_reasons)
        solo.peer.close()


@pytest.fixture
def solo(make: Callable[..., SoloStream]) -> SoloStream:
    return make()


def fill(solo: SoloStream) -> None:
    """Send until the client is behind and the queue has no room."""
    with pytest.raises(BackpressureDetected):
        send_much(solo)


def send_much(solo: SoloStream) -> None:
    for _ in range(100_000):
        solo.stream.send_nowait(SSEEvent("x" * 1000))


def ended(solo: SoloStream) -> CloseReason:
    """The one notice of the end."""
    wait_until(lambda: solo.close_reasons)
    assert len(solo.close_reasons) == 1
    return solo.close_reasons[0]


# -- sending -------------------------------------------------------------------


def test_a_stream_is_driven_first(solo: SoloStream) -> None:
    stream = solo.stream
    assert stream.state is StreamState.DRIVEN
    assert not stream.closed
    assert stream.close_reason is None
    assert (stream.event_count, stream.queued_bytes) == (0, 0)


def test_what_is_sent_arrives_and_is_counted(solo: SoloStream) -> None:
    assert solo.stream.try_send(SSEEvent("one", id="1"))
    solo.stream.send_nowait(SSEEvent("two", event="other"))
    solo.stream.send_comment("nobody shows this")
    assert solo.stream.event_count == 2
    one, two = solo.peer.read_events(2)
    assert (one.type, one.data, one.last_event_id) == ("message", "one", "1")
    assert (two.type, two.data) == ("other", "two")
    solo.peer.read_raw_until(b": nobody shows this\n\n")


def test_queued_events_leave_with_the_flush(solo: SoloStream) -> None:
    assert solo.stream.queue_event(SSEEvent("one"))
    assert solo.stream.queue_event(SSEEvent("two"))
    assert solo.stream.queued_bytes > 0
    assert solo.stream.flush()
    assert solo.stream.queued_bytes == 0
    assert [event.data for event in solo.peer.read_events(2)] == ["one", "two"]


def test_a_client_that_is_behind_is_told_of_and_nothing_is_taken(
    make: Callable[..., SoloStream],
) -> None:
    solo = make(max_queue_bytes=4096)
    fill(solo)
    stream = solo.stream
    count, queued = stream.event_count, stream.queued_bytes
    assert not stream.try_send(SSEEvent("y" * 4000))
    assert not stream.queue_event(SSEEvent("y" * 4000))
    with pytest.raises(BackpressureDetected, match=f"{queued} bytes are queued"):
        stream.send_nowait(SSEEvent("y" * 4000))
    with pytest.raises(BufferError):
        stream.send_nowait(SSEEvent("y" * 4000))
    assert (stream.event_count, stream.queued_bytes) == (count, queued)
    assert not stream.closed, "a client that is behind has not gone"


def test_a_comment_never_waits(make: Callable[..., SoloStream]) -> None:
    """Not even where chunks wait for room: a thread's write timeout is 30 s here."""
    solo = make(max_queue_bytes=4096)
    fill(solo)
    refused: list[BackpressureDetected] = []

    def comment() -> None:
        try:
            for _ in range(100):
                solo.stream.send_comment("c" * 1000)
        except BackpressureDetected as error:
            refused.append(error)

    commenter = threading.Thread(target=comment)
    commenter.start()
    commenter.join(DEADLINE_S)
    assert refused


def test_the_limit_of_one_event_and_one_byte_past_it(make: Callable[..., SoloStream]) -> None:
    """The limit counts what the event is on the wire, chunk framing included."""
    limit = 1000
    # data: <text>\n\n is 8 bytes around the text; the chunk's size line and CRLF are 3 + 2 + 2.
    text = "x" * (limit - 8 - 7)
    solo = make(max_event_bytes=limit)
    solo.stream.send_nowait(SSEEvent(text))
    with pytest.raises(EventTooLarge, match="1001"):
        solo.stream.send_nowait(SSEEvent(text + "x"))
    with pytest.raises(ValueError):
        solo.stream.send_nowait(SSEEvent(text + "x"))
    assert solo.peer.read_event().data == text
    assert not solo.stream.closed


def test_an_event_above_the_cap_is_taken_by_an_empty_queue(
    make: Callable[..., SoloStream],
) -> None:
    solo = make(max_queue_bytes=1024)
    text = "x" * (1 << 20)
    assert solo.stream.try_send(SSEEvent(text))
    assert not solo.stream.try_send(SSEEvent("small"))
    reader = threading.Thread(target=solo.peer.read_event)
    reader.start()
    wait_until(solo.stream.flush)
    reader.join(DEADLINE_S)
    assert solo.stream.try_send(SSEEvent("small"))


# -- losing the client ---------------------------------------------------------


def test_a_lost_client_is_told_at_the_send(solo: SoloStream) -> None:
    solo.peer.close()
    with pytest.raises(ConnectionLost) as lost:
        send_much(solo)
    assert lost.value.reason is CloseReason.CLIENT_CLOSED
    assert isinstance(lost.value, ConnectionError)
    assert solo.stream.close_reason is CloseReason.CLIENT_CLOSED
    assert solo.close_reasons == [], "the driver has not let go yet"
    with pytest.raises(ConnectionLost):
        solo.stream.send_nowait(SSEEvent("again"))
    with pytest.raises(ConnectionLost):
        solo.stream.send_comment("again")
    solo.stream.finish(CloseReason.HANDLER_DONE)
    assert ended(solo) is CloseReason.CLIENT_CLOSED


def test_a_flush_tells_it_too(solo: SoloStream) -> None:
    solo.peer.close()
    wait_until(lambda: not solo.connection.is_alive())
    solo.stream.queue_event(SSEEvent("x"))
    with pytest.raises(ConnectionLost):
        solo.stream.flush()


# -- ending --------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(CloseReason))
def test_the_driver_ends_it(solo: SoloStream, reason: CloseReason) -> None:
    stream = solo.stream
    stream.finish(reason)
    assert stream.closed
    assert stream.state is StreamState.ENDED
    assert stream.close_reason is reason
    assert solo.close_reasons == [reason]
    assert stream.queued_bytes == 0
    assert solo.peer.read_to_end() == []
    for again in (stream.finish, stream.end):
        again(CloseReason.KICKED)
    stream.close()
    assert solo.close_reasons == [reason]


@pytest.mark.parametrize("reason", list(CloseReason))
def test_others_end_it_and_the_driver_lets_go(solo: SoloStream, reason: CloseReason) -> None:
    stream = solo.stream
    assert stream.end(reason)
    assert not stream.end(CloseReason.KICKED)
    assert stream.closed
    assert stream.close_reason is reason
    assert solo.close_reasons == [], "its driver has it still"
    expected = WriterClosed if reason is CloseReason.HANDLER_DONE else ConnectionLost
    with pytest.raises(expected):
        stream.send_nowait(SSEEvent("x"))
    stream.finish(CloseReason.HANDLER_DONE)
    assert solo.close_reasons == [reason]


def test_closing_it_twice_is_closing_it_once(solo: SoloStream) -> None:
    solo.stream.close()
    solo.stream.close()
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]
    with pytest.raises(WriterClosed) as closed:
        solo.stream.send_nowait(SSEEvent("x"))
    assert isinstance(closed.value, RuntimeError)


def test_closing_from_another_thread_leaves_the_connection_to_the_driver(
    solo: SoloStream,
) -> None:
    closer = threading.Thread(target=solo.stream.close)
    closer.start()
    closer.join()
    assert solo.stream.close_reason is CloseReason.HANDLER_DONE
    assert solo.close_reasons == []
    solo.stream.finish(CloseReason.ERROR)
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


def test_whoever_waits_for_the_end_wakes_with_it(solo: SoloStream) -> None:
    assert not solo.stream.wait(0.0)
    woken: list[bool] = []
    waiters = [
        threading.Thread(target=lambda: woken.append(solo.stream.wait(None))) for _ in range(3)
    ]
    for waiter in waiters:
        waiter.start()
    solo.stream.end(CloseReason.SHUTDOWN)
    for waiter in waiters:
        waiter.join(DEADLINE_S)
    assert woken == [True, True, True]
    assert solo.stream.wait(0.0)
    assert solo.stream.wait(None)


# -- parking -------------------------------------------------------------------


def test_a_parked_stream_is_the_hosts(solo: SoloStream) -> None:
    stream = solo.stream
    stream.send_nowait(SSEEvent("driven"))
    stream.park()
    stream.park()
    assert stream.state is StreamState.PARKED
    stream.send_nowait(SSEEvent("parked"))
    stream.send_comment("and alive")
    assert stream.event_count == 2
    assert [event.data for event in solo.peer.read_events(2)] == ["driven", "parked"]
    stream.finish(CloseReason.ERROR)  # its driver of before has no say any more
    assert not stream.closed
    stream.close()
    assert stream.closed
    assert solo.peer.read_to_end() == []
    assert ended(solo) is CloseReason.HANDLER_DONE
    assert stream.state is StreamState.ENDED
    with pytest.raises(WriterClosed):
        stream.send_nowait(SSEEvent("late"))
    with pytest.raises(WriterClosed):
        stream.park()


def test_a_parked_client_that_leaves_is_told_of_once(solo: SoloStream) -> None:
    solo.stream.park()
    solo.peer.close()
    with pytest.raises(ConnectionLost):
        send_much(solo)
    assert ended(solo) is CloseReason.CLIENT_CLOSED


def test_a_parked_client_that_is_behind(make: Callable[..., SoloStream]) -> None:
    solo = make(max_queue_bytes=4096)
    solo.stream.park()
    fill(solo)
    assert solo.stream.queued_bytes > 0
    assert not solo.stream.closed


def test_what_has_ended_cannot_be_parked(solo: SoloStream) -> None:
    solo.stream.end(CloseReason.SHUTDOWN)
    with pytest.raises(ConnectionLost, match="shutdown"):
        solo.stream.park()
    solo.stream.finish(CloseReason.HANDLER_DONE)
    assert solo.close_reasons == [CloseReason.SHUTDOWN]


class LateReport(SoloStream):
    """The host knows of the end for a while before the stream is told."""

    def __init__(self) -> None:
        super().__init__(memory_pair())
        self.told = threading.Event()

    def _end(self, reason: CloseReason) -> None:
        assert self.told.wait(DEADLINE_S)
        super()._end(reason)


def test_the_hosts_cause_was_first_although_it_has_not_been_told_of() -> None:
    solo = LateReport()
    solo.stream.park()
    solo.peer.close()
    with pytest.raises(ConnectionLost):
        solo.stream.send_nowait(SSEEvent("x"))
    assert not solo.stream.end(CloseReason.KICKED)
    solo.told.set()
    assert ended(solo) is CloseReason.CLIENT_CLOSED
    assert solo.stream.close_reason is CloseReason.CLIENT_CLOSED


# -- callbacks -----------------------------------------------------------------


@pytest.mark.parametrize("parked", [False, True])
def test_callbacks_are_called_once_with_the_reason(solo: SoloStream, parked: bool) -> None:
    called: list[tuple[int, CloseReason]] = []
    for number in range(3):
        solo.stream.on_close(lambda reason, number=number: called.append((number, reason)))
    if parked:
        solo.stream.park()
        solo.stream.end(CloseReason.KICKED)
    else:
        solo.stream.finish(CloseReason.KICKED)
    wait_until(lambda: len(called) == 3)
    solo.stream.on_close(lambda reason: called.append((3, reason)))
    assert called == [(number, CloseReason.KICKED) for number in range(4)]


def test_a_callback_sees_the_context_it_was_registered_in(solo: SoloStream) -> None:
    variable = contextvars.ContextVar[str]("variable")
    seen: list[str] = []

    def register() -> None:
        variable.set("of the request")
        solo.stream.on_close(lambda _: seen.append(variable.get()))

    contextvars.copy_context().run(register)
    solo.stream.finish(CloseReason.HANDLER_DONE)
    assert seen == ["of the request"]


# -- races ---------------------------------------------------------------------

PAIRS = list(itertools.combinations_with_replacement(CloseReason, 2))


@pytest.mark.parametrize("parked", [False, True], ids=["driven", "parked"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_of_two_causes_one_wins(pair: tuple[CloseReason, CloseReason], parked: bool) -> None:
    """Both at the same moment, from two threads, while the driver lets go as well."""
    solo = memory_stream()
    called: list[CloseReason] = []
    solo.stream.on_close(called.append)
    if parked:
        solo.stream.park()
    barrier = threading.Barrier(3)
    won: list[CloseReason] = []

    def end(reason: CloseReason) -> None:
        barrier.wait(DEADLINE_S)
        if solo.stream.end(reason):
            won.append(reason)

    threads = [threading.Thread(target=end, args=(reason,)) for reason in pair]
    for thread in threads:
        thread.start()
    barrier.wait(DEADLINE_S)
    solo.stream.finish(CloseReason.HANDLER_DONE)
    for thread in threads:
        thread.join(DEADLINE_S)
    reason = ended(solo)
    if not parked and not won:
        assert reason is CloseReason.HANDLER_DONE  # the driver was first
    else:
        assert won == [reason]
    assert called == [reason]
    assert solo.stream.close_reason is reason
