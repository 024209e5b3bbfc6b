"""Serving and its end: graceful shutdown, embedding, the life of an application, signals."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
import trio

import h3py
from h3py import H3, CloseReason, ConfigError, H3Event, ServeOptions, running, serve_trio
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, Stage
from tests.support.client import Client
from tests.support.process import Program
from tests.support.wait import DEADLINE_S, trio_wait_until, wait_until

# -- running -------------------------------------------------------------------


def test_running_serves_until_the_block_is_left(backend: str) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    with running(app, backend=backend) as server:
        assert server.addresses[0][1] != ServeOptions().port, "the system chose the port"
        with Client(server.addresses[0]) as client:
            assert client.get("/").text == "hello"
    with pytest.raises(ConnectionRefusedError):
        Client(server.addresses[0])
    server.shutdown()  # it has ended already


def test_running_takes_options_and_changes(backend: str) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    options = ServeOptions(port=0, max_connections=5)
    with running(app, options, backend=backend, max_streams=3) as server:
        assert (server.max_connections, server.max_streams) == (5, 3)
    with pytest.raises(ConfigError, match="unknown option 'colour'"), running(app, colour="red"):
        pytest.fail("served")


def test_an_error_of_the_block_is_not_hidden_by_the_end(backend: str) -> None:
    with pytest.raises(ZeroDivisionError), running(H3(), backend=backend):
        raise ZeroDivisionError


def test_an_application_is_closed_to_changes_while_it_is_served(backend: str) -> None:
    app = H3()
    with running(app, backend=backend), pytest.raises(ConfigError, match="being served"):
        app.get("/")(lambda event: "late")


# -- the life of an application ------------------------------------------------


@FLAVOURS
def test_hooks_run_in_order_around_the_serving(backend: str, flavour: str) -> None:
    app, inner = H3(), H3()
    app.mount("/inner", inner)
    order: list[str] = []
    for owner, name in ((app, "outer"), (app, "second"), (inner, "inner")):
        if flavour == "async":

            async def start(name: str = name) -> None:
                await trio.lowlevel.checkpoint()
                order.append(f"start {name}")

            async def stop(name: str = name) -> None:
                await trio.lowlevel.checkpoint()
                order.append(f"stop {name}")

        else:

            def start(name: str = name) -> None:  # type: ignore[misc]
                order.append(f"start {name}")

            def stop(name: str = name) -> None:  # type: ignore[misc]
                order.append(f"stop {name}")

        owner.on_start(start)
        owner.on_stop(stop)

    @app.get("/")
    def hello(event: H3Event) -> str:
        order.append("request")
        return "hello"

    with running(app, backend=backend) as server, Client(server.addresses[0]) as client:
        client.get("/")
    assert order == [
        "start outer", "start second", "start inner", "request",
        "stop inner", "stop second", "stop outer",
    ]  # fmt: skip


def test_the_first_request_comes_after_the_start(backend: str) -> None:
    """A client may connect before; it is answered once the start is over."""
    app = H3()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        replies: list[str] = []
        started = False
        clients: list[threading.Thread] = []

        def ask() -> None:
            with Client(listener.getsockname()) as client:
                replies.append(client.get("/").text)

        @app.on_start
        def start() -> None:
            nonlocal started
            clients.append(threading.Thread(target=ask))
            clients[0].start()
            started = True

        app.get("/")(lambda event: str(started))
        with running(app, backend=backend, fd=listener.fileno()):
            clients[0].join(DEADLINE_S)
    assert replies == ["True"]


@FLAVOURS
def test_a_start_that_fails_ends_the_server(backend: str, flavour: str) -> None:
    app = H3()
    stopped: list[str] = []

    async def async_fail() -> None:
        raise LookupError("no database")

    def fail() -> None:
        raise LookupError("no database")

    app.on_start(async_fail if flavour == "async" else fail)
    app.on_stop(lambda: stopped.append("stopped"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LookupError, match="no database"), running(app, backend=backend, port=port):
        pytest.fail("served")
    assert stopped == [], "what never started is not stopped"
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


@FLAVOURS
def test_a_stop_that_fails_is_logged_and_the_others_run(
    backend: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()
    stopped: list[str] = []

    async def async_fail() -> None:
        raise LookupError("on purpose")

    def fail() -> None:
        raise LookupError("on purpose")

    app.on_stop(lambda: stopped.append("last"))
    app.on_stop(async_fail if flavour == "async" else fail)
    with running(app, backend=backend):
        pass
    assert stopped == ["last"]
    wait_until(lambda: "on purpose" in caplog.text)


@FLAVOURS
def test_background_work_runs_beside_the_serving(
    backend: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The program that broadcasts lives here; one that fails is logged and harms nothing."""
    app = H3()
    stage = Stage("parked", "plain", "three")
    app.mount("/a", stage.app)
    ended: list[str] = []
    stop = threading.Event()

    async def async_broadcast() -> None:
        try:
            await trio_wait_until(lambda: stage.streams)
            stage.stream.send_nowait(stage.last)
            await trio.sleep_forever()
        finally:
            ended.append("broadcast")

    def broadcast() -> None:
        stage.stream.send_nowait(stage.last)
        stop.wait(DEADLINE_S)
        ended.append("broadcast")

    @app.background
    def fails() -> None:
        raise LookupError("on purpose")

    app.background(async_broadcast if flavour == "async" else broadcast)
    with running(app, backend=backend) as server:
        with EventReader(f"{server.url}/a/stream") as reader:
            assert [event.data for event in reader.read_events(4)] == [
                "one", "two", "three", "last",
            ]  # fmt: skip
        wait_until(lambda: "on purpose" in caplog.text)
    stop.set()
    if flavour == "async":
        assert ended == ["broadcast"], "it ends with the server"


# -- embedding -------------------------------------------------------------------


async def test_embedded_in_a_program_that_runs_trio() -> None:
    app = H3()

    @app.get("/")
    async def hello(event: H3Event) -> str:
        return "hello"

    stage = Stage("parked", "async", "three")
    app.mount("/a", stage.app)

    def visit(url: str) -> list[str]:
        with EventReader(f"{url}/a/stream") as reader:
            return [event.data for event in reader.read_events(3)]

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_trio, app, ServeOptions(port=0))
            assert isinstance(server, h3py.Server)
            assert await trio.to_thread.run_sync(visit, server.url) == ["one", "two", "three"]
            server.shutdown()
    assert server.open_connections == 0


async def test_an_embedded_server_handles_no_signals_and_may_be_cancelled() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stage = Stage("parked", "async", "three")
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_trio, stage.app, ServeOptions(port=0))
            assert signal.getsignal(signal.SIGTERM) is before
            reader = await trio.to_thread.run_sync(EventReader, f"{server.url}/stream")
            await trio.to_thread.run_sync(reader.read_events, 3)
            nursery.cancel_scope.cancel()
    reader.read_eof()
    reader.close()
    assert server.open_streams == 0, "whoever was told of a stream is told of its end"
    assert stage.reasons == [CloseReason.SHUTDOWN]
    with pytest.raises(ConnectionRefusedError):
        Client(server.addresses[0])


async def test_two_servers_in_one_program() -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            servers = []
            for name in ("one", "two"):
                app = H3()

                @app.get("/")
                async def hello(event: H3Event, name: str = name) -> str:
                    return name

                servers.append(await nursery.start(serve_trio, app, ServeOptions(port=0)))

            def ask(server: h3py.Server) -> str:
                with Client(server.addresses[0]) as client:
                    return client.get("/").text

            assert [await trio.to_thread.run_sync(ask, server) for server in servers] == [
                "one", "two",
            ]  # fmt: skip
            for server in servers:
                server.shutdown()


async def test_embedding_serves_on_trio_only() -> None:
    with pytest.raises(ConfigError, match="trio backend only"):
        await serve_trio(H3(), backend="threads")


# -- as a process: signals ---------------------------------------------------------

PROGRAM = """
import sys, threading
from h3py import H3, serve

app = H3()
held = threading.Event()

@app.get("/stream")
def stream(event):
    event.start_sse().send_event_nowait("here")

@app.get("/stuck")
def stuck(event):
    print("stuck", flush=True)
    held.wait(300)

@app.on_stop
def stop():
    print("stopped", flush=True)

serve(app, backend=sys.argv[1], port=0, drain_timeout_s=300.0, linger_s=0.2,
      started=lambda server: print("serving", server.url, flush=True))
print("returned", flush=True)
"""


@pytest.fixture
def program(tmp_path: Path, backend: str):  # type: ignore[no-untyped-def]
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    env = {"PYTHONPATH": os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")])}
    with Program.python(script, backend, env=env) as process:
        yield process, process.wait_for_line(r"serving (http://\S+)")[1]


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully(program, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    process, url = program
    with EventReader(f"{url}/stream") as reader:
        assert reader.read_event().data == "here"
        process.send_signal(number)
        assert reader.read_to_end() == []
    assert process.wait() == 0
    assert process.output.splitlines()[-2:] == ["stopped", "returned"]


def refuses(address: tuple[str, int]) -> bool:
    try:
        Client(address).close()
    except ConnectionError:  # refused; or reset, where the listener was closed just then
        return True
    return False


@pytest.mark.process
def test_a_second_signal_forces_it(program) -> None:  # type: ignore[no-untyped-def]
    process, url = program
    host, _, port = url.removeprefix("http://").partition(":")
    with Client((host, int(port))) as client:
        client.request("GET", "/stuck")
        process.wait_for_line("stuck")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses((host, int(port))), what="it accepts no more")
        assert process.process.poll() is None, "the first one waits for what is being answered"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "returned" in process.output


def test_signals_are_left_alone_outside_the_main_thread(backend: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with running(H3(), backend=backend):
        for number, handler in before.items():
            assert signal.getsignal(number) is handler


def test_nothing_is_logged_above_info_when_all_is_well(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    with running(app, backend=backend) as server, Client(server.addresses[0]) as client:
        client.get("/")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
