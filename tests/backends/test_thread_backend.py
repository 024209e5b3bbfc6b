"""What only the threads backend has: one thread that reads for all, and workers that answer."""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from h3py import H3, ConfigError, H3Event, running
from tests.backends.ways import Serve
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

pytestmark = pytest.mark.parametrize("backend", ["threads"])


def test_idle_connections_hold_no_thread(serve_app: Serve) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    server = serve_app(app)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(100)]
        for client in clients:
            assert client.get("/").text == "hello"
        workers = [thread for thread in threading.enumerate() if thread.name == "h3py-worker"]
        assert len(workers) < 10
        wait_until(lambda: server.workers.free == 64)


def test_a_connection_goes_from_hand_to_hand(serve_app: Serve) -> None:
    """Reader, worker, reader, ...: hundreds of times, from many clients at once."""
    app = H3()
    app.get("/:number")(lambda event: event.params["number"])
    server = serve_app(app)
    failed: list[BaseException] = []

    def ask(offset: int) -> None:
        try:
            with Client(server.addresses[0]) as client:
                for number in range(offset, offset + 200):
                    assert client.get(f"/{number}").text == str(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(number * 1000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert failed == []
    wait_until(lambda: server.open_connections == 0)


def test_requests_that_tls_has_decrypted_already_are_answered(
    certificate: Path, trusting: ssl.SSLContext, backend: str
) -> None:
    """Many in one record: no socket will tell of those behind the first."""
    app = H3()
    app.get("/:number")(lambda event: event.params["number"])
    with (
        running(app, backend=backend, certificate=certificate) as server,
        Client(server.addresses[0], tls=trusting) as client,
    ):
        for _ in range(5):
            client.send(
                b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20))
            )
            for number in range(20):
                assert client.read_reply().text == str(number)


def test_what_needs_a_loop_is_refused_by_name(backend: str) -> None:
    app = H3()

    @app.get("/async")
    async def handler(event: H3Event) -> None: ...

    @app.use
    async def middleware(event: H3Event) -> None: ...

    @app.on_start
    async def start() -> None: ...

    @app.background
    async def background() -> None: ...

    with pytest.raises(ConfigError) as refused, running(app, backend=backend):
        pytest.fail("served")
    for name in ("/async", "middleware", "start", "background"):
        assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_worker_that_gives_back_while_the_server_begins_to_stop(backend: str) -> None:
    """Its connection is closed like every idle one, not kept until the deadline."""
    app = H3()
    app.get("/")(lambda event: "hello")
    for _ in range(20):
        with running(app, backend=backend, drain_timeout_s=3600.0) as server:
            clients = [Client(server.addresses[0]) for _ in range(8)]
            for client in clients:
                client.request("GET", "/")
            server.shutdown()
            for client in clients:
                client.expect_closed()
                client.close()
        assert server.open_connections == 0
