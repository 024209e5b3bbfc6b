"""Every stream begins with when to come back; not the same for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3, H3Event, SSEEvent
from h3py.backends.exchange import opening
from tests.support.client import Client, EventStream


def app() -> H3:
    app = H3()

    @app.get("/")
    def stream(event: H3Event) -> None:
        with event.start_sse() as stream:
            stream.send_event(SSEEvent("first"))
            assert stream.event_count == 1

    return app


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_begins_with_retry(serve_app: Callable[..., Any], version: str) -> None:
    server = serve_app(app(), retry_ms=1000)
    with Client(server.addresses[0]) as client:
        client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version.encode())
        stream = EventStream(client, client.read_head())
        assert [event.data for event in stream.read_to_end()] == ["first"]
        assert 800 <= stream.parser.retry <= 1200
        assert stream.raw.startswith(b"retry: ")


def test_none_leaves_it_to_the_client(serve_app: Callable[..., Any]) -> None:
    server = serve_app(app(), retry_ms=None)
    with Client(server.addresses[0]) as client:
        stream = client.open_stream("/")
        stream.read_to_end()
        assert stream.raw == b"data: first\n\n"


def test_it_is_spread() -> None:
    seen = {opening(3000, chunked=False) for _ in range(100)}
    assert len(seen) > 10
    values = [int(line.removeprefix(b"retry: ")) for line in seen]
    assert min(values) >= 2400
    assert max(values) <= 3600
