"""What clients see of a server that stops: shared by the tests of farewells and of turns."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

from h3py import SSEEvent
from tests.support.client import Client, EventStream

BYE = SSEEvent("come back", event="bye")
PARTING: dict[str, Any] = {
    "retry_ms": None, "farewell": BYE, "farewell_retry_ms": 5000, "drain_timeout_s": 60.0,
}  # fmt: skip
LAST_WORDS = re.compile(rb"retry: (\d+)\n\nevent: bye\ndata: come back\n\n\Z")


def check_parted(stream: EventStream, *, slack_ms: int = 0) -> int:
    """It ends cleanly (``read_to_end`` asks for the last chunk), its farewell just before."""
    events = stream.read_to_end()
    assert [event.type for event in events].count("bye") == 1
    found = LAST_WORDS.search(stream.raw)
    assert found, stream.raw[-200:]
    assert stream.raw.count(b"retry:") == 1
    assert 4000 <= int(found[1]) <= 6000 + slack_ms
    return int(found[1])


def opened(server: Any, stack: ExitStack, count: int, **how: Any) -> list[EventStream]:
    clients = [stack.enter_context(Client(server.addresses[0], **how)) for _ in range(count)]
    streams = [client.open_stream("/stream") for client in clients]
    for stream in streams:
        assert stream.read_event().data == "here"
    return streams
