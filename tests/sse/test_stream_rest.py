"""What a client did not take at once: the host is asked to look after it, and told what is left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from h3py import BackpressureDetected, CloseReason, SSEEvent
from h3py.testing import SoloStream, memory_stream, thread_stream
from tests.sse.support import fill


@pytest.fixture(params=[memory_stream, thread_stream], ids=["memory", "threads"])
def solo(request: pytest.FixtureRequest) -> Iterator[SoloStream]:
    make: Callable[[], SoloStream] = request.param
    one = make()
    yield one
    one.stream.finish(CloseReason.HANDLER_DONE)
    one.peer.close()


def test_its_host_is_asked_to_look_after_what_the_client_did_not_take(
    solo: SoloStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for what left at once, and not while somebody waits for room there."""
    asked: list[object] = []
    monkeypatch.setattr(solo, "want_writable", asked.append)
    solo.stream.send_nowait(SSEEvent("small"))
    solo.stream.send_comment("small")
    assert solo.stream.flush()
    assert asked == []
    fill(solo.start)
    assert solo.stream in asked
    asked.clear()
    assert not solo.stream.flush()
    assert asked == [solo.stream]
    with contextlib.suppress(BackpressureDetected):
        solo.stream.send_comment("more")
    asked.clear()
    solo.stream.blocked_since = solo.clock()
    assert not solo.stream.flush()
    assert asked == []
    solo.stream.blocked_since = None


def test_looking_after_tells_whether_more_is_left(solo: SoloStream) -> None:
    assert solo.stream.look_after(heartbeat=False), "nothing is left"
    fill(solo.start)
    assert not solo.stream.look_after(heartbeat=False)
    solo.stream.end(CloseReason.KICKED)
    assert solo.stream.look_after(heartbeat=False), (
        "its driver lets go of it, with all that is left"
    )
