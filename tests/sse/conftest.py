"""Streams that stand alone, for writers of both kinds; each with a small queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from h3py import CloseReason, TrioConnection
from h3py.testing import SoloStream, memory_stream, socket_pair, thread_stream


@pytest.fixture
def threaded() -> Iterator[Callable[..., SoloStream]]:
    made: list[SoloStream] = []

    def make(**options: float) -> SoloStream:
        made.append(thread_stream(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for solo in made:
        solo.stream.finish(CloseReason.HANDLER_DONE)
        solo.peer.close()
        solo.connection.close()


@pytest.fixture(params=["memory", "sockets"])
def tasked(request: pytest.FixtureRequest) -> Iterator[Callable[[], SoloStream]]:
    """Makes a stream for a task, with a small queue; called inside the loop."""
    made: list[SoloStream] = []

    def make() -> SoloStream:
        if request.param == "memory":
            made.append(memory_stream(max_queue_bytes=4096, capacity_bytes=4096))
        else:
            made.append(SoloStream(socket_pair(TrioConnection, max_queue_bytes=4096)))
        return made[-1]

    yield make
    for solo in made:
        solo.peer.close()
        solo.connection.abort()
