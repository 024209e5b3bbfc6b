"""What is counted in is counted out: connections, streams, streams of one address (M14)."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from h3py import (
    H3,
    CloseReason,
    H3Event,
    HTTPError,
    ServeOptions,
    SSEManager,
    Subscription,
)
from h3py.backends.places import Places
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import wait_until


def places(**options: int | None) -> Places:
    return Places(ServeOptions(**options))  # type: ignore[arg-type]  # counts alone


def test_connections() -> None:
    some = places(max_connections=2)
    assert [some.connection_opened() for _ in range(3)] == [True, True, False]
    assert some.connections == 3, "a refused one is open until it has been told"
    some.connection_gone()
    some.connection_gone()
    assert some.connection_opened()


def test_streams_and_what_is_told_to_one_too_many() -> None:
    some = places(max_streams=2, retry_after_s=7)
    assert [some.admit_stream() for _ in range(2)] == [None, None]
    with pytest.raises(HTTPError) as refused:
        some.admit_stream()
    assert refused.value.status == 503
    assert dict(refused.value.headers) == {"retry-after": "7"}
    some.stream_gone(None)
    some.admit_stream()
    assert some.streams == 2


def test_a_server_that_stops_admits_nobody() -> None:
    some = places()
    some.closed = True
    with pytest.raises(HTTPError, match="stopping") as refused:
        some.admit_stream(("192.0.2.1", 1))
    assert refused.value.status == 503
    assert (some.streams, some.by_address) == (0, {})


def test_streams_of_one_address_at_the_limit_and_one_past_it() -> None:
    some = places(max_streams_per_address=2, retry_after_s=7)
    first = [some.admit_stream(("192.0.2.1", port)) for port in (1, 2)]
    with pytest.raises(HTTPError) as refused:
        some.admit_stream(("192.0.2.1", 3))
    assert refused.value.status == 429
    assert dict(refused.value.headers) == {"retry-after": "7"}
    other = some.admit_stream(("192.0.2.2", 1))
    assert some.streams == 3, "the one that was refused counts nowhere"
    some.stream_gone(first[0])
    some.admit_stream(("192.0.2.1", 3))
    for address in (first[0], first[1], other):
        some.stream_gone(address)
    assert (some.streams, some.by_address) == (0, {})


def test_clients_without_an_address_are_not_limited() -> None:
    some = places(max_streams_per_address=1)
    assert [some.admit_stream(None) for _ in range(3)] == [None] * 3
    assert some.by_address == {}


def test_off_nothing_is_kept() -> None:
    some = places()
    assert not some.by_address_limited
    assert some.admit_stream(("192.0.2.1", 1)) is None
    assert some.by_address == {}


def test_many_threads_at_once() -> None:
    some = places(max_streams_per_address=5)
    admitted: list[str | None] = []
    start = threading.Barrier(8)

    def come_and_go() -> None:
        start.wait()
        for _ in range(200):
            try:
                address = some.admit_stream(("192.0.2.1", 1))
            except HTTPError:
                continue
            admitted.append(address)
            some.stream_gone(address)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) > 200
    assert (some.streams, some.by_address) == (0, {})


# -- served ------------------------------------------------------------------------


@FLAVOURS
@WAYS
def test_served_one_address_at_the_limit_and_one_past_it(
    serve_app: Serve, way: str, flavour: str
) -> None:
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app, max_streams_per_address=2, retry_after_s=7)
    with ExitStack() as stack:
        for _ in range(2):
            reader = stack.enter_context(EventReader(f"{server.url}/stream"))
            assert reader.read_event().data == "here"
        with Client(server.addresses[0]) as client:
            for _ in range(2):
                refused = client.get("/stream")
                assert refused.status == 429
                assert refused.head["retry-after"] == "7"
                assert client.get("/plain").text == "plain"
        assert server.places.by_address == {"127.0.0.1": 2}
    stage.go_on.set()
    settled(server, streams=2)
    assert server.places.by_address == {}
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "here"
    settled(server, streams=3)
    assert server.places.by_address == {}


@FLAVOURS
@WAYS
@pytest.mark.parametrize("act", ["three", "fail", "flood"])
def test_every_way_out_gives_the_place_back(
    serve_app: Serve, way: str, flavour: str, act: str
) -> None:
    stage = Stage(way, flavour, act)
    server = serve_app(stage.app, max_streams_per_address=1)
    for number in range(3):
        with Client(server.addresses[0]) as client:
            client.open_stream("/stream")
            client.reset()
        settled(server, streams=number + 1)
        assert server.places.by_address == {}


def test_a_manager_and_a_head_request_give_it_back(serve_app: Serve) -> None:
    manager = SSEManager()
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> Subscription:
        return manager.subscribe(event)

    server = serve_app(app, max_streams_per_address=1)
    with Client(server.addresses[0]) as client:
        client.request("HEAD", "/stream")
        assert client.read_reply(head_only=True).status == 200
    settled(server, streams=1)
    with Client(server.addresses[0]) as client:
        client.open_stream("/stream")
        with Client(server.addresses[0]) as other:
            assert other.get("/stream").status == 429
    settled(server, streams=2)
    assert server.places.by_address == {}


@pytest.mark.parametrize("way", ["handler", "generator"])
def test_a_stream_that_cannot_begin_gives_it_back(serve_app: Serve, way: str) -> None:
    """There is a place for it, and no thread that could drive it."""
    stage = Stage(way, "plain", "sleep")
    server = serve_app(stage.app, max_streams_per_address=2, max_sync_streams=1)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "here"
        with Client(server.addresses[0]) as client:
            assert client.get("/stream").status == 503
        assert server.places.by_address == {"127.0.0.1": 1}
    stage.go_on.set()
    settled(server, streams=1)
    assert server.places.by_address == {}


def test_behind_a_trusted_proxy_it_is_the_client_who_is_limited(serve_app: Serve) -> None:
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        event.start_sse()

    server = serve_app(app, max_streams_per_address=1, trusted_proxies=("127.0.0.0/8",))

    def as_client(address: str) -> list[tuple[str, str]]:
        return [("X-Forwarded-For", address)]

    with ExitStack() as stack:
        for address in ("192.0.2.1", "192.0.2.2"):
            client = stack.enter_context(Client(server.addresses[0]))
            client.open_stream("/stream", as_client(address))
        with Client(server.addresses[0]) as client:
            assert client.get("/stream", as_client("192.0.2.1")).status == 429
        assert server.places.by_address == {"192.0.2.1": 1, "192.0.2.2": 1}
    settled(server, streams=2)
    assert server.places.by_address == {}


def test_who_is_not_trusted_cannot_pretend(serve_app: Serve) -> None:
    stage = Stage("parked", "plain", "three")
    server = serve_app(stage.app, max_streams_per_address=1)
    with Client(server.addresses[0]) as first, Client(server.addresses[0]) as second:
        first.open_stream("/stream", [("X-Forwarded-For", "192.0.2.1")])
        assert second.get("/stream", [("X-Forwarded-For", "192.0.2.2")]).status == 429
        assert server.places.by_address == {"127.0.0.1": 1}


def test_on_a_unix_socket_nobody_is_limited(serve_app: Serve, tmp_path: Path) -> None:
    stage = Stage("parked", "plain", "three")
    server = serve_app(stage.app, unix_path=tmp_path / "s", max_streams_per_address=1)
    with ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(Client(server.addresses[0]))
            assert client.open_stream("/stream").read_event().data == "one"
        assert server.open_streams == 3
    wait_until(lambda: server.open_streams == 0)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 3}
