"""curl sees each event when it is sent.

By cause, not by clock: the handler sends event n+1 only after a second request has released it, and
the test makes that request only after curl has printed event n. If anything on the way waited for
more bytes, curl would print nothing and the test would end at its deadline. (Heads are looked for
in what `-v` says: with `-i`, curl itself keeps them back until a body comes.)
"""

from __future__ import annotations

import queue
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3, H3Event, SSEEvent
from h3py.backends import thread_backend, trio_backend
from tests.support.client import Client
from tests.support.process import Program
from tests.support.wait import wait_until

pytestmark = pytest.mark.process

COUNT = 4


@pytest.fixture(autouse=True)
def curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")


@pytest.fixture(autouse=True)
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a send leaves behind is sent by the sweep a moment later: here it must not be needed."""
    monkeypatch.setattr(trio_backend, "SWEEP_S", 3600)
    monkeypatch.setattr(thread_backend, "SWEEP_S", 3600)


def released_app(parked: list[Any]) -> H3:
    """Streams that send one event for each POST to ``/release``, in each way there is.

    Args:
        parked: Takes the streams that were parked.
    """
    app = H3()
    releases: queue.Queue[int] = queue.Queue()

    @app.get("/generator")
    def generator(event: H3Event) -> Any:
        while True:
            yield SSEEvent(f"event {releases.get()}")

    @app.get("/handler")
    def handler(event: H3Event) -> None:
        with event.start_sse() as stream:
            while True:
                stream.send_event(SSEEvent(f"event {releases.get()}"))

    @app.get("/callback")
    def callback(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(write)

    def write(stream: Any) -> None:
        while True:
            stream.send_event(SSEEvent(f"event {releases.get()}"))

    @app.get("/parked")
    def park(event: H3Event) -> None:
        stream = event.start_sse()
        stream.park()
        parked.append(stream)

    @app.post("/release/:number")
    def release(event: H3Event) -> None:
        number = int(event.params["number"])
        if parked:
            parked[0].send_event_nowait(SSEEvent(f"event {number}"))
        else:
            releases.put(number)

    return app


@pytest.mark.parametrize("way", ["generator", "handler", "callback", "parked"])
def test_curl_sees_an_event_before_the_next_is_sent(
    serve_app: Callable[..., Any], way: str
) -> None:
    parked: list[Any] = []
    server = serve_app(released_app(parked))
    with (
        Program(["curl", "-sNv", f"{server.url}/{way}"]) as curl,
        Client(server.addresses[0]) as releaser,
    ):
        curl.wait_for_line("^< HTTP/1.1 200 OK")
        if way == "parked":
            wait_until(lambda: parked)
        for number in range(COUNT):
            releaser.request("POST", f"/release/{number}")
            assert releaser.read_reply().status == 204
            curl.wait_for_line(f"^data: event {number}$")
        assert re.findall(r"^data: event (\d+)$", curl.output, re.M) == [
            str(number) for number in range(COUNT)
        ]


def test_the_head_of_a_stream_leaves_at_once(serve_app: Callable[..., Any]) -> None:
    """Before any event: an open stream that says nothing yet is known to be open."""
    server = serve_app(released_app([]))
    with Program(["curl", "-sNv", f"{server.url}/generator"]) as curl:
        curl.wait_for_line("^< HTTP/1.1 200 OK")
        curl.wait_for_line("(?i)^< content-type: text/event-stream")
        curl.wait_for_line("(?i)^< x-accel-buffering: no")


def test_curl_sees_a_clean_end_when_the_server_stops(serve_app: Callable[..., Any]) -> None:
    parked: list[Any] = []
    server = serve_app(released_app(parked))
    with Program(["curl", "-sSN", f"{server.url}/parked"]) as curl:
        wait_until(lambda: parked)
        parked[0].send_event_nowait("the only one")
        curl.wait_for_line("^data: the only one$")
        server.shutdown()
        assert curl.wait() == 0  # 18 would be a transfer that was cut
