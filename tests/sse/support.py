"""What tests of writers share."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from h3py import BackpressureDetected
from h3py.sse import StreamOperations
from tests.support.wait import DEADLINE_S


def fill(stream: StreamOperations) -> None:
    def send_much() -> None:
        for _ in range(100_000):
            stream.send_event_nowait("x" * 1000)

    with pytest.raises(BackpressureDetected):
        send_much()


LAST = "x" * 4000
"""An event for which a full queue has no room."""


def in_thread(function: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Run in a thread; what is returned waits for its end and gives what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> BaseException | None:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "it never ended"
        return raised[0] if raised else None

    return result
