"""The ends of streams spread over a window, and what ends the window: turns, force, signals."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from h3py import H3, CloseReason, H3Event, SSEManager, running
from h3py.testing import ManualClock
from tests.backends.parting import PARTING, check_parted, opened
from tests.backends.ways import FLAVOURS, Stage
from tests.support.client import Client
from tests.support.process import Program
from tests.support.wait import wait_until

# -- turns -------------------------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("way", ["handler", "generator"])
def test_the_ends_of_driven_streams_are_spread_over_the_window(
    backend: str, way: str, flavour: str
) -> None:
    stage = Stage(way, flavour, "sleep")
    clock = ManualClock()
    with (
        running(
            stage.app, backend=backend, clock=clock,
            **PARTING | {"drain_window_s": 100.0, "drain_timeout_s": 3600.0},
        ) as server,
        ExitStack() as stack,
    ):  # fmt: skip
        streams = opened(server, stack, 10)

        def ended() -> int:
            return sum(stream.closed for stream in stage.streams)

        server.shutdown()
        # Ten streams and a window of 100 seconds: at 0, at 10, at 20 and so on.
        wait_until(lambda: ended() == 1)
        clock.advance(39.0)
        wait_until(lambda: ended() == 4)
        clock.advance(1.0)
        wait_until(lambda: ended() == 5)
        clock.advance(49.0)
        wait_until(lambda: ended() == 9)
        clock.advance(1.0)
        wait_until(lambda: ended() == 10)
        stage.go_on.set()
        retries = [check_parted(stream, slack_ms=100_000) for stream in streams]
        # Who comes back may come as late as the last leaves.
        assert max(retries) > 6000
        for stream in streams:
            stream.client.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 10}


@pytest.mark.parametrize("home", ["server", "manager"])
def test_the_ends_of_parked_streams_are_spread_over_the_window(backend: str, home: str) -> None:
    clock = ManualClock()
    manager = SSEManager(clock=clock, heartbeat_s=None, linger_s=0.0)
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> Any:
        if home == "manager":
            return manager.subscribe(event)
        event.start_sse()
        return None

    with (
        running(
            app, backend=backend, clock=clock, heartbeat_s=None, linger_s=0.0,
            **PARTING | {"drain_window_s": 100.0, "drain_timeout_s": 3600.0},
        ) as server,
        ExitStack() as stack,
    ):  # fmt: skip
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(20)]
        streams = [client.open_stream("/stream") for client in clients]
        wait_until(lambda: server.open_streams == 20 and not server.driven)
        server.shutdown()
        wait_until(lambda: server.drain_turns.begun)
        clock.advance(50.0)
        # A little more, for what lingers: the clients have not closed their side.
        wait_until(lambda: clock.advance(0.01) and server.closed_streams)
        assert server.closed_streams.total() < 20, "a part of them ends in half of the window"
        clock.advance(50.0)
        for item in streams:
            check_parted(item, slack_ms=100_000)
            item.client.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 20}


@pytest.mark.parametrize("way", ["handler", "parked"])
@pytest.mark.parametrize("clock", ["the system's", "still"])
def test_forced_nobody_waits_for_a_turn(backend: str, way: str, clock: str) -> None:
    """Not even those who are parked, and not for the deadline."""
    stage = Stage(way, "plain", "sleep")
    with (
        running(
            stage.app, backend=backend, clock=ManualClock() if clock == "still" else None,
            **PARTING | {"drain_window_s": 3000.0, "drain_timeout_s": 3600.0},
        ) as server,
        ExitStack() as stack,
    ):  # fmt: skip
        streams = opened(server, stack, 3)
        wait_until(lambda: way == "handler" or not server.driven)
        server.shutdown()
        wait_until(lambda: server.drain_turns.begun)
        assert server.open_streams > 0
        server.force()
        for stream in streams:
            stream.client.expect_closed()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 3}


@pytest.mark.parametrize("home", ["server", "manager"])
def test_without_a_window_a_clock_that_stands_still_holds_nobody(backend: str, home: str) -> None:
    clock = ManualClock()
    manager = SSEManager(clock=clock)
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> Any:
        if home == "manager":
            return manager.subscribe(event)
        event.start_sse()
        return None

    with (
        running(
            app, backend=backend, clock=clock, **PARTING | {"drain_timeout_s": 3600.0}
        ) as server,
        Client(server.addresses[0]) as client,
    ):
        events = client.open_stream("/stream")
        wait_until(lambda: server.open_streams == 1 and not server.driven)
        server.shutdown()
        check_parted(events)


# -- as a program ------------------------------------------------------------------

PROGRAM = """
import sys
from h3py import H3, SSEEvent, SSEManager, serve

app, manager = H3(), SSEManager()

@app.get("/driven")
def driven(event):
    with event.start_sse() as stream:
        stream.send_event("here")
        stream.wait(300)

@app.get("/parked")
def parked(event):
    event.start_sse().send_event_nowait("here")

@app.get("/subscribed")
def subscribed(event):
    return manager.subscribe(event)

serve(app, backend=sys.argv[1], port=0, drain_window_s=float(sys.argv[2]),
      drain_timeout_s=300.0, linger_s=0.2, retry_ms=None, farewell_retry_ms=5000,
      farewell=SSEEvent("come back", event="bye"),
      started=lambda server: print("serving", server.url, flush=True))
print("returned", flush=True)
"""


def program(tmp_path: Path, backend: str, window_s: float) -> Program:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    return Program.python(script, backend, str(window_s), env={"PYTHONPATH": "src"})


def address_of(process: Program) -> tuple[str, int]:
    host, _, port = process.wait_for_line(r"serving http://(\S+)")[1].partition(":")
    return host, int(port)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_every_stream_part_and_the_process_exits_with_0(
    tmp_path: Path, backend: str, number: signal.Signals
) -> None:
    with program(tmp_path, backend, 0.3) as process, ExitStack() as stack:
        address = address_of(process)
        streams = [
            stack.enter_context(Client(address)).open_stream(path)
            for path in ("/driven", "/parked", "/subscribed")
            for _ in range(3)
        ]
        for stream in streams[:6]:
            assert stream.read_event().data == "here"
        process.send_signal(number)
        for stream in streams:
            check_parted(stream, slack_ms=300)
            stream.client.close()
        assert process.wait() == 0
    assert process.output.splitlines()[-1] == "returned"


@pytest.mark.process
def test_a_second_signal_ends_the_window(tmp_path: Path, backend: str) -> None:
    with program(tmp_path, backend, 200.0) as process, ExitStack() as stack:
        address = address_of(process)
        clients = [stack.enter_context(Client(address)) for _ in range(10)]
        for client in clients:
            assert client.open_stream("/driven").read_event().data == "here"
        process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                Client(address).close()
            except ConnectionError:
                return True
            return False

        wait_until(refused, what="it accepts no more")
        assert process.process.poll() is None, "the others' turns are to come"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        for client in clients:
            client.expect_closed()
