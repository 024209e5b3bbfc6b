"""What only the trio backend has: a loop, tasks, and worker threads that speak to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio

from h3py import H3, CloseReason, H3Event
from h3py.testing import EventReader
from tests.backends.ways import Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

pytestmark = pytest.mark.parametrize("backend", ["trio"])


def test_a_handler_may_use_all_of_trio(serve_app: Serve) -> None:
    """Nurseries, timeouts, channels: the handler runs in a task like any other."""
    app = H3()

    @app.get("/")
    async def handler(event: H3Event) -> str:
        send, receive = trio.open_memory_channel[int](0)
        total = 0

        async def produce() -> None:
            async with send:
                for number in range(10):
                    await send.send(number)

        with trio.move_on_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(produce)
                async for number in receive:
                    total += number
        return str(total)

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/").text == "45"


def test_a_nursery_beside_a_stream_is_cancelled_with_it(serve_app: Serve) -> None:
    app = H3()
    ended: list[str] = []

    @app.get("/stream")
    async def stream(event: H3Event) -> None:
        async def beside() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("beside")

        try:
            async with event.start_sse() as writer, trio.open_nursery() as nursery:
                nursery.start_soon(beside)
                await writer.send_event("here")
                await trio.sleep_forever()
        finally:
            ended.append("handler")

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
    settled(server, streams=1)
    wait_until(lambda: ended == ["beside", "handler"])


def test_worker_threads_may_call_back_into_the_loop(serve_app: Serve) -> None:
    app = H3()

    @app.get("/")
    def handler(event: H3Event) -> str:
        async def on_loop() -> str:
            await trio.lowlevel.checkpoint()
            return f"{threading.current_thread().name} {trio.current_time() >= 0}"

        return str(trio.from_thread.run(on_loop))

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/").text == "h3py-server True"


def test_an_async_callback_of_a_stream_that_a_thread_began(serve_app: Serve) -> None:
    """Who writes becomes its driver: the loop, after a worker thread had begun it."""
    app = H3()
    threads: list[int] = []

    @app.get("/stream")
    def handler(event: H3Event) -> None:
        threads.append(threading.get_ident())
        event.start_sse()

        async def write(writer: object) -> None:
            threads.append(threading.get_ident())
            await writer.send_event("from the loop")  # type: ignore[attr-defined]
            await trio.sleep_forever()

        event.set_stream_callback(write)

    server = serve_app(app, max_sync_streams=1)
    for _ in range(3):  # the thread was given back each time
        with EventReader(f"{server.url}/stream") as reader:
            assert reader.read_event().data == "from the loop"
    settled(server, streams=3)
    assert threads[0] != threads[1]
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 3}


def test_a_plain_callback_of_a_stream_that_a_task_began(serve_app: Serve) -> None:
    app = H3()

    @app.get("/stream")
    async def handler(event: H3Event) -> None:
        event.start_sse()

        def write(writer: object) -> None:
            writer.send_event("from a thread")  # type: ignore[attr-defined]
            assert writer.wait(DEADLINE_S)  # type: ignore[attr-defined]

        event.set_stream_callback(write)

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "from a thread"
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}


def test_descriptors_that_are_reused_wait_for_nobody_of_before(serve_app: Serve) -> None:
    """A number that was parked, or closed under a waiting task, is soon another connection's."""
    stages = {way: Stage(way, "async", "sleep") for way in ("parked", "handler", "generator")}
    app = H3()
    for way, stage in stages.items():
        app.mount(f"/{way}", stage.app)
    server = serve_app(app)
    for number in range(60):
        way = list(stages)[number % 3]
        with EventReader(f"{server.url}/{way}/stream") as reader:
            assert reader.read_event().data == "here"
            with Client(server.addresses[0]) as client:
                assert client.get(f"/{way}/plain").text == "plain"
    settled(server, streams=60)
    with Client(server.addresses[0]) as client:
        assert client.get("/parked/plain").text == "plain"


def test_plain_middleware_that_blocks_runs_beside_the_loop(serve_app: Serve) -> None:
    app = H3()
    order: list[str] = []

    def around(event: H3Event) -> Iterator[None]:
        order.append(f"before {threading.current_thread().name == 'h3py-server'}")
        yield
        order.append("after")

    app.use(around)

    @app.get("/")
    async def handler(event: H3Event) -> str:
        order.append(f"handler {threading.current_thread().name == 'h3py-server'}")
        return "done"

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/").text == "done"
    assert order == ["before False", "handler True", "after"]
