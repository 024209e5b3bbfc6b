"""What a server does of its own accord: counts, looks at its clock, finds the slow (C9, N2)."""

from __future__ import annotations

import logging

import pytest

from h3py import CloseReason
from h3py.testing import EventReader, ManualClock
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import wait_until


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "slow client" in record.getMessage()]


@FLAVOURS
@pytest.mark.parametrize("way", ["handler", "generator"])
def test_a_slow_client_is_warned_of_once_per_episode_and_counted(
    serve_app: Serve, way: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(way, flavour, "flood")
    clock = ManualClock()
    server = serve_app(
        stage.app,
        clock=clock,
        slow_write_s=0.1,
        stall_timeout_s=None,
        heartbeat_s=None,
        write_timeout_s=86400.0,
    )
    with EventReader(f"{server.url}/stream", receive_buffer_bytes=4096) as reader:
        reader.read_event()
        wait_until(lambda: stage.stream.blocked_since is not None)
        clock.advance(1.0)
        wait_until(lambda: server.slow_episodes == 1)
        for _ in range(2):
            clock.advance(1.0)
            seen = stage.stream.seen_at
            wait_until(lambda seen=seen: stage.stream.seen_at > seen, what="the server looks")
        assert server.slow_episodes == 1
        (warning,) = wait_until(lambda: warnings_of(caplog))
        assert warning.levelno == logging.WARNING
        assert warning.stream == "GET /stream"
        assert 0 < warning.queued_bytes <= 64 * 1024
        assert stage.stream.close_reason is None
    settled(server, streams=1)


@FLAVOURS
def test_a_parked_client_that_is_slow_is_found_too(
    serve_app: Serve, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage("parked", flavour, "three")
    clock = ManualClock()
    server = serve_app(stage.app, clock=clock, stall_timeout_s=60.0, heartbeat_s=None)
    with EventReader(f"{server.url}/stream", receive_buffer_bytes=4096) as reader:
        reader.read_events(3)
        wait_until(lambda: not server.driven)
        wait_until(lambda: not stage.stream.try_send(stage.last.replace(data="x" * 10_000)))
        wait_until(lambda: clock.advance(0.1) and server.slow_episodes == 1)
        wait_until(lambda: len(warnings_of(caplog)) == 1)
        # The system may take a little more for a moment: then its time begins again.
        wait_until(lambda: clock.advance(61.0) and stage.stream.close_reason)
        settled(server, streams=1)
    assert server.closed_streams == {CloseReason.SLOW: 1}


@FLAVOURS
@WAYS
def test_an_idle_stream_gets_heartbeats_and_stays(serve_app: Serve, way: str, flavour: str) -> None:
    """A comment, never an event (M10)."""
    stage = Stage(way, flavour, "sleep")
    clock = ManualClock()
    server = serve_app(
        stage.app, clock=clock, heartbeat_s=30.0, stall_timeout_s=None, retry_ms=None
    )
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
        if way == "parked":
            wait_until(lambda: not server.driven)
        else:
            wait_until(lambda: stage.stream.looked_queued == (1, 0), what="the server looks")
        clock.advance(61.0)
        clock.advance(61.0)
        raw = reader.read_raw_until(b"\n:")
        assert raw.startswith(b"data: here\n\n:")
        assert not reader.received.events
        assert stage.stream.close_reason is None
    stage.go_on.set()
    settled(server, streams=1)


def test_what_is_counted(serve_app: Serve) -> None:
    stage = Stage("parked", "plain", "three")
    server = serve_app(stage.app)
    assert (server.open_connections, server.open_streams) == (0, 0)
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"
        assert (server.open_connections, server.open_streams) == (1, 0)
        with EventReader(f"{server.url}/stream") as reader:
            reader.read_events(3)
            assert (server.open_connections, server.open_streams) == (2, 1)
        settled_streams = server.closed_streams
        wait_until(lambda: settled_streams == {CloseReason.CLIENT_CLOSED: 1})
        wait_until(lambda: (server.open_connections, server.open_streams) == (1, 0))
    wait_until(lambda: server.open_connections == 0)
