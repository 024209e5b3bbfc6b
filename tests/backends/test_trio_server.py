"""The server on a trio loop: who drives a stream, who is woken, and what reaches the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio

from h3py import H3, CloseReason, H3Event, running
from h3py.testing import EventReader
from tests.backends.ways import Serve, Stage, settled
from tests.support.wait import DEADLINE_S, wait_until

pytestmark = pytest.mark.parametrize("backend", ["trio"])


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(DEADLINE_S)


@pytest.mark.parametrize("who", ["task", "child", "other task", "thread", "the loop itself"])
def test_who_closes_a_stream_that_a_task_drives(serve_app: Serve, who: str) -> None:
    """Its own code goes on afterwards; anybody else's close cancels it. The end is the same."""
    app = H3()
    went_on: list[str] = []
    cancelled: list[str] = []

    @app.get("/stream")
    async def stream(event: H3Event) -> None:
        async def child() -> None:
            writer.close()

        try:
            async with event.start_sse() as writer:
                await writer.send_event("here")
                if who == "task":
                    writer.close()
                elif who == "child":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(child)
                elif who == "thread":
                    in_thread(writer.close)
                    await trio.sleep_forever()
                elif who == "the loop itself":
                    trio.lowlevel.current_trio_token().run_sync_soon(writer.close)
                    await trio.sleep_forever()
                else:
                    trio.lowlevel.spawn_system_task(child)
                    await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
            went_on.append(who)
        except trio.Cancelled:
            cancelled.append(who)
            raise

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert [event.data for event in reader.read_to_end()] == ["here"]
    settled(server, streams=1)
    wait_until(lambda: went_on or cancelled)
    assert (went_on == [who]) is (who in ("task", "child"))
    assert server.closed_streams == {CloseReason.HANDLER_DONE: 1}


def test_what_is_to_run_on_the_loop_runs_there(serve_app: Serve) -> None:
    server = serve_app(H3())
    ran: list[int] = []
    server.soon(lambda: ran.append(threading.get_ident()))
    wait_until(lambda: ran)
    assert ran == [server.loop_thread]
    assert not server.on_loop()
    server.soon(lambda: server.soon(ran.append, server.on_loop()))
    wait_until(lambda: len(ran) == 2)
    assert ran[1] is True


def test_after_the_end_nothing_is_an_error(backend: str) -> None:
    with running(H3(), backend=backend) as server:
        pass
    server.soon(pytest.fail, "the loop has ended")
    server.shutdown()
    server.force()


def test_a_parked_stream_wakes_nobody(serve_app: Serve) -> None:
    stage = Stage("parked", "async", "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_events(3)
        wait_until(lambda: not server.driven)
        assert stage.stream.driver is None
        server.wake(stage.stream)
        stage.stream.send_nowait(stage.last)
        assert reader.read_event().data == "last"
    settled(server, streams=1)
