"""Parked streams under TLS: what one thread does for all of them. (More: `test_transports`.)"""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from h3py import H3, CloseReason, H3Event, SSEWriter, running
from h3py.testing import ManualClock
from tests.backends.ways import Stage, settled
from tests.support.client import Client, EventStream
from tests.support.wait import DEADLINE_S, wait_until


@pytest.fixture
def stage() -> Stage:
    return Stage("parked", "plain", "three")


def opened(client: Client) -> EventStream:
    stream = client.open_stream("/stream")
    assert len(stream.read_events(3)) == 3
    return stream


def test_a_client_that_sends_too_much_is_ended(
    stage: Stage, backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    with running(
        stage.app, backend=backend, certificate=certificate, max_discard_bytes=1000
    ) as server:
        with Client(server.addresses[0], tls=trusting) as client:
            stream = opened(client)
            wait_until(lambda: not server.driven)
            client.send(b"x" * 1000)
            stage.stream.send_nowait(stage.last)
            assert stream.read_event().data == "last"
            assert stage.stream.close_reason is None
            client.send(b"x")
            client.expect_closed()
        settled(server, streams=1)
        assert server.closed_streams == {CloseReason.LIMIT: 1}


def test_a_client_that_takes_nothing_waits_in_the_queue_and_is_ended(
    stage: Stage, backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """Its sender is refused at the cap; the others are served on."""
    clock = ManualClock()
    other = Stage("parked", "plain", "three")
    app = H3()
    app.mount("/slow", stage.app)
    app.mount("/other", other.app)
    with running(
        app, backend=backend, certificate=certificate, clock=clock, stall_timeout_s=60.0,
        heartbeat_s=None,
    ) as server, ExitStack() as stack:  # fmt: skip
        slow = stack.enter_context(Client(server.addresses[0], tls=trusting, receive_buffer=4096))
        slow.open_stream("/slow/stream")
        quick = stack.enter_context(Client(server.addresses[0], tls=trusting))
        stream = quick.open_stream("/other/stream")
        stream.read_events(3)
        wait_until(lambda: not server.driven)
        wait_until(lambda: not stage.stream.try_send(stage.last.replace(data="x" * 10_000)))
        assert stage.stream.queued_bytes <= 64 * 1024
        other.stream.send_nowait(stage.last)
        assert stream.read_event().data == "last"
        wait_until(lambda: clock.advance(61.0) and stage.stream.close_reason)
        assert stage.stream.close_reason is CloseReason.SLOW
        other.stream.send_nowait(stage.last)
        assert stream.read_event().data == "last"


def test_an_idle_stream_gets_heartbeats(
    stage: Stage, backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    clock = ManualClock()
    with (
        running(
            stage.app,
            backend=backend,
            certificate=certificate,
            clock=clock,
            heartbeat_s=30.0,
            stall_timeout_s=None,
        ) as server,
        Client(server.addresses[0], tls=trusting) as client,
    ):
        stream = opened(client)
        wait_until(lambda: not server.driven)
        assert b"\n:" not in stream.raw
        clock.advance(61.0)  # it may have been adopted only now
        clock.advance(61.0)
        stream.read_raw_until(b"\n:")
        assert stage.stream.close_reason is None


def test_many_of_them_share_one_thread_and_end_with_the_server(
    backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    app = H3()
    writers: list[SSEWriter] = []

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        start = event.start_sse()
        start.send_event_nowait("here")
        writers.append(SSEWriter(start._stream))

    with running(app, backend=backend, certificate=certificate) as server, ExitStack() as stack:
        clients = [
            stack.enter_context(Client(server.addresses[0], tls=trusting)) for _ in range(20)
        ]
        streams = [client.open_stream("/stream") for client in clients]
        for item in streams:
            item.read_event()
        wait_until(lambda: not server.driven)
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("h3py-tls") == 1
        for writer in writers:
            writer.send_event_nowait("to all")
        for item in streams:
            assert item.read_event().data == "to all"
        server.shutdown()
        for item in streams:
            assert item.read_to_end() == []
            item.client.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 20}
    assert "h3py-tls" not in [thread.name for thread in threading.enumerate()]
    assert server.open_connections == 0


def test_a_stream_that_waits_for_room_under_tls(
    stage: Stage, backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """A sender in a thread waits for the engine's word, and loses nothing."""
    with running(stage.app, backend=backend, certificate=certificate) as server:
        with Client(server.addresses[0], tls=trusting, receive_buffer=4096) as client:
            stream = opened(client)
            wait_until(lambda: not server.driven)
            writer = SSEWriter(stage.stream)

            def send() -> None:
                for number in range(300):
                    writer.send_event(f"{number} {'x' * 5000}")

            sender = threading.Thread(target=send)
            sender.start()
            numbers = [int(event.data.split()[0]) for event in stream.read_events(300)]
            assert numbers == list(range(300))
            sender.join(DEADLINE_S)
            assert not sender.is_alive()
        settled(server, streams=1)
