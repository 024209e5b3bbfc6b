"""What the wire carries besides the data: ids, framing and all."""

from __future__ import annotations

from typing import Any

from h3py import H3, H3Event, SSEManager, Subscription
from h3py.testing import wait_until
from tests.support.client import Client

EVENTS = 50
DATA = "x" * 1024


def test_of_events_of_a_kilobyte_nine_tenths_are_data(serve_app: Any) -> None:
    """With ids, names and chunked framing: what a stream's bytes are, from event to event."""
    manager, app = SSEManager(), H3()

    @app.get("/")
    def follow(event: H3Event) -> Subscription:
        return manager.subscribe(event)

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.request("GET", "/")
        client.read_head()
        wait_until(lambda: manager.broadcast("begin") == 1)
        client.read_until(b"event: begin\ndata: \n\n\r\n")
        for _ in range(EVENTS):
            manager.broadcast("tick", DATA)
        manager.broadcast("end")
        carried = client.read_until(b"event: end\n")
    assert carried.count(DATA.encode()) == EVENTS
    assert EVENTS * len(DATA) > 0.9 * len(carried)
