"""The end of a stream: one reason, told once, to handler, log and counter (N1).

However it comes about: the client leaves or breaks, while the handler sleeps or
writes; others end it; several causes race. Afterwards nothing is left behind:
every test here ends with all counters back at zero.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading

import pytest
import trio

from h3py import H3, CloseReason, ConnectionLost, H3Event, ManagerClosed, SSEEvent, running
from h3py._speedups.engine import Engine
from h3py.testing import EventReader
from tests.backends.ways import DRIVEN_WAYS, FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

PAIRS = list(itertools.combinations_with_replacement(CloseReason, 2))


@pytest.fixture
def endings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The log's records of streams that ended, as they come."""
    caplog.set_level(logging.INFO, logger="h3py.stream")

    class Endings(list[logging.LogRecord]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return (item for item in caplog.records if hasattr(item, "close_reason"))

        def __len__(self) -> int:
            return sum(1 for _ in self)

    return Endings()


def leave(reader: EventReader, how: str) -> None:
    if how == "fin":
        reader.close()
    elif how == "half":
        reader.socket.shutdown(socket.SHUT_WR)
    else:
        reader.reset()


HOW = pytest.mark.parametrize("how", ["fin", "half", "rst"])


@HOW
@FLAVOURS
@WAYS
def test_a_client_that_leaves_is_noticed_at_once(
    serve_app: Serve, way: str, flavour: str, how: str, endings: list[logging.LogRecord]
) -> None:
    """While nothing is sent: the handler sleeps for as long as it is let."""
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app, heartbeat_s=None)
    reader = EventReader(f"{server.url}/stream")
    assert reader.read_event().data == "here"
    if way == "parked":
        wait_until(lambda: not server.driven)
    leave(reader, how)
    wait_until(lambda: stage.stream.close_reason, what="the loss is seen")
    assert stage.stream.close_reason is CloseReason.CLIENT_CLOSED
    stage.go_on.set()  # a plain generator cannot be told: it goes on by itself
    settled(server, streams=1)
    reader.close()
    wait_until(lambda: stage.reasons)
    assert stage.reasons == [CloseReason.CLIENT_CLOSED]
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
    assert [record.close_reason for record in endings] == ["client_closed"]
    if way != "parked":
        assert stage.left == 1
        error = stage.errors[0]
        if flavour == "async":
            assert isinstance(error, trio.Cancelled | GeneratorExit)
        elif way == "generator":
            assert isinstance(error, GeneratorExit)
        else:
            assert isinstance(error, ConnectionLost)
            assert error.reason is CloseReason.CLIENT_CLOSED


@FLAVOURS
@DRIVEN_WAYS
def test_a_client_that_leaves_is_no_error(
    serve_app: Serve, way: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(way, flavour, "flood")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_events(10)
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert stage.left == 1


@FLAVOURS
@WAYS
def test_a_client_may_shut_down_its_side_where_that_is_allowed(
    serve_app: Serve, way: str, flavour: str
) -> None:
    stage = Stage(way, flavour, "three")
    server = serve_app(stage.app, half_close="allow")
    with Client(server.addresses[0]) as client:
        client.request("GET", "/stream")
        client.end_sending()
        assert client.read_head().status == 200
        if way == "parked":
            wait_until(lambda: not server.driven and server.open_streams)
            stage.stream.send_nowait(stage.last)
            stage.stream.close()
        chunks = b"".join(client.chunks())
        assert b"data: three\n\n" in chunks
        assert (b"data: last\n\n" in chunks) == (way == "parked")
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.HANDLER_DONE: 1}


@FLAVOURS
@DRIVEN_WAYS
def test_half_close_allowed_still_sees_a_break(serve_app: Serve, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app, half_close="allow", heartbeat_s=None)
    reader = EventReader(f"{server.url}/stream")
    reader.read_event()
    reader.socket.shutdown(socket.SHUT_WR)
    reader.reset()
    wait_until(lambda: stage.stream.close_reason is CloseReason.CLIENT_CLOSED)
    stage.go_on.set()
    settled(server, streams=1)


@FLAVOURS
@WAYS
@pytest.mark.parametrize("reason", list(CloseReason))
def test_whoever_ends_it_gives_the_reason(
    serve_app: Serve, way: str, flavour: str, reason: CloseReason
) -> None:
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
        if way == "parked":
            wait_until(lambda: not server.driven)
        assert stage.stream.end(reason)
        assert not stage.stream.end(CloseReason.ERROR)
        stage.go_on.set()
        reader.read_eof()
    settled(server, streams=1)
    assert server.closed_streams == {reason: 1}
    wait_until(lambda: stage.reasons)
    assert stage.reasons == [reason]
    assert stage.left == (0 if way == "parked" else 1)


@FLAVOURS
@WAYS
def test_an_end_by_the_server_is_a_clean_one(serve_app: Serve, way: str, flavour: str) -> None:
    """The client is sent what was queued, and the last chunk."""
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        stage.stream.end(CloseReason.KICKED)
        stage.go_on.set()
        reader.read_to_end()
        reader.read_eof()
    settled(server, streams=1)


@FLAVOURS
@WAYS
def test_of_causes_that_race_one_wins(
    serve_app: Serve, way: str, flavour: str, endings: list[logging.LogRecord]
) -> None:
    """Every pair of reasons, at the same moment, against each other and the client's leaving.

    One stream after the other on one server; whichever cause is first, there is one
    reason, one notice, one line in the log, and nothing is left open.
    """
    stages = {pair: Stage(way, flavour, "sleep") for pair in PAIRS}
    app = H3()
    for number, stage in enumerate(stages.values()):
        app.mount(f"/{number}", stage.app)
    server = serve_app(app, heartbeat_s=None)
    for number, (pair, stage) in enumerate(stages.items()):
        reader = EventReader(f"{server.url}/{number}/stream")
        reader.read_event()
        if way == "parked":
            wait_until(lambda: not server.driven)
        barrier = threading.Barrier(3)
        won: list[CloseReason] = []

        def end(
            reason: CloseReason,
            stage: Stage = stage,
            barrier: threading.Barrier = barrier,
            won: list[CloseReason] = won,
        ) -> None:
            barrier.wait(DEADLINE_S)
            if stage.stream.end(reason):
                won.append(reason)

        racers = [threading.Thread(target=end, args=(reason,)) for reason in pair]
        for racer in racers:
            racer.start()
        barrier.wait(DEADLINE_S)
        reader.close()
        for racer in racers:
            racer.join(DEADLINE_S)
        stage.go_on.set()
        settled(server, streams=number + 1)
        wait_until(lambda stage=stage: stage.reasons, what=f"{pair}: on_close is called")
        reason = stage.stream.close_reason
        assert len(won) <= 1, f"{pair}: two causes won: {won}"
        assert reason == (won[0] if won else CloseReason.CLIENT_CLOSED), f"{pair}: {won}"
        assert stage.reasons == [reason], f"{pair}: told {stage.reasons}"
        assert stage.left == (0 if way == "parked" else 1), pair
    told = [stage.stream.close_reason for stage in stages.values()]
    assert [record.close_reason for record in endings] == [reason.value for reason in told]
    counted = {reason: told.count(reason) for reason in told}
    assert server.closed_streams == counted
    assert server.engine.stats()["watched"] == server.engine.stats()["parked"] == 0


def test_what_the_log_says(
    serve_app: Serve, endings: list[logging.LogRecord], backend: str
) -> None:
    stage = Stage("handler", "plain", "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_to_end()
    settled(server, streams=1)
    wait_until(lambda: endings)
    (record,) = endings
    assert record.levelno == logging.INFO
    assert record.name == "h3py.stream"
    assert (record.stream, record.close_reason, record.events) == (
        "GET /stream", "handler_done", 3,
    )  # fmt: skip


@FLAVOURS
def test_on_close_callbacks_run_once_where_they_may_block(
    serve_app: Serve, backend: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain ones in a thread, async ones on the loop; one that raises harms no other."""
    app = H3()
    told: list[tuple[str, CloseReason]] = []
    others_ran = threading.Event()

    def blocks(reason: CloseReason) -> None:
        assert others_ran.wait(DEADLINE_S)
        told.append(("blocks", reason))

    def raises(reason: CloseReason) -> None:
        raise RuntimeError("this callback fails on purpose")

    def plain(reason: CloseReason) -> None:
        told.append(("plain", reason))

    async def on_loop(reason: CloseReason) -> None:
        await trio.lowlevel.checkpoint()
        told.append(("async", reason))

    async def raises_on_loop(reason: CloseReason) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("this async callback fails on purpose")

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        start = event.start_sse()
        start.send_event_nowait("here")
        for callback in (blocks, raises, plain):
            start.on_close(callback)
        if flavour == "async":
            for async_callback in (raises_on_loop, on_loop):
                start.on_close(async_callback)

    app.get("/plain")(lambda event: "plain")
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
    settled(server, streams=1)
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"  # while a callback blocks
    if flavour == "async":
        wait_until(lambda: told == [("async", CloseReason.CLIENT_CLOSED)])
    others_ran.set()
    expected = {"blocks", "plain"} | ({"async"} if flavour == "async" else set())
    wait_until(lambda: len(told) == len(expected))
    assert {name for name, _ in told} == expected
    assert {reason for _, reason in told} == {CloseReason.CLIENT_CLOSED}
    wait_until(
        lambda: (
            sum(record.levelno == logging.ERROR for record in caplog.records)
            == (2 if flavour == "async" else 1)
        )
    )


@FLAVOURS
def test_on_close_callbacks_are_waited_for_at_shutdown(backend: str, flavour: str) -> None:
    """They still run when everything else of the server has ended."""
    app = H3()
    told: list[str] = []
    all_else_has_ended = threading.Event()

    def plain(reason: CloseReason) -> None:
        assert all_else_has_ended.wait(DEADLINE_S)
        told.append(reason.value)

    async def on_loop(reason: CloseReason) -> None:
        await trio.to_thread.run_sync(all_else_has_ended.wait, DEADLINE_S)
        await trio.lowlevel.checkpoint()  # raises, where it was cancelled meanwhile
        told.append(reason.value)

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        start = event.start_sse()
        start.on_close(on_loop if flavour == "async" else plain)
        start.send_event_nowait("here")

    with running(app, backend=backend) as server:
        readers = [EventReader(f"{server.url}/stream") for _ in range(5)]
        for reader in readers:
            reader.read_event()
        server.shutdown()
        for reader in readers:
            reader.read_to_end()
            reader.close()
        wait_until(lambda: has_ended(server.engine), what="the pumps have been joined")
        all_else_has_ended.set()
    assert told == ["shutdown"] * 5


def has_ended(engine: Engine) -> bool:
    try:
        engine.publish(SSEEvent("x"), everyone=True)
    except ManagerClosed:
        return True
    return False
