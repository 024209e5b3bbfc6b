"""Every way to stream, in every flavour of code, behind one application.

A *way* says who writes: the handler, a callback (with or without its context), a
generator, or nobody in particular (parked). A *flavour* says how the code is
written: ``async def`` or ``def``. An *act* says what is written. ``FLAVOURS``
runs a test with each flavour on each backend that can run it; ``WAYS`` with each
way.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
import trio

from h3py import H3, AsyncSSEWriter, CloseReason, H3Event, SSEEvent, SSEWriter, StreamContext
from h3py.sse.stream import Stream
from tests.support.wait import DEADLINE_S, wait_until

FLAVOURS = pytest.mark.parametrize(
    ("backend", "flavour"), [("trio", "async"), ("trio", "plain"), ("threads", "plain")]
)
NAMES = ("handler", "callback", "context", "generator", "parked")
WAYS = pytest.mark.parametrize("way", NAMES)
DRIVEN_WAYS = pytest.mark.parametrize("way", NAMES[:-1])

THREE = ("one", "two", "three")


class Stage:
    """An application with one stream at ``/stream``, and what has been seen of it.

    Acts: ``three`` events (or those given); one event and then a ``sleep`` until the end (or until
    ``go_on`` is set); one event and then a failure; a ``flood`` of events without end.

    Attributes:
        app: The application.
        streams: The state of each stream that began.
        left: How many pieces of streaming code have been left, however that came about.
        errors: What they were left with.
        reasons: What on_close callbacks were told.
        go_on: Wakes plain code that sleeps and cannot be told of the end.
    """

    def __init__(self, way: str, flavour: str, act: str, *, events: Sequence[str] = THREE) -> None:
        self.app = H3()
        self.streams: list[Stream] = []
        self.left = 0
        self.errors: list[BaseException] = []
        self.reasons: list[CloseReason] = []
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._act = act
        self._events = events
        self.last = SSEEvent("last")
        self.app.get("/stream")(getattr(self, f"{flavour}_{way}"))
        self.app.get("/plain")(lambda event: "plain")

    @property
    def stream(self) -> Stream:
        """The state of the one stream, once it has begun."""
        wait_until(lambda: self.streams, what="the stream begins")
        assert len(self.streams) == 1
        return self.streams[0]

    def note(self, event: H3Event) -> None:
        assert event.stream is not None
        event.stream.on_close(self.reasons.append)
        self.streams.append(event.stream._stream)

    def leaving(self, error: BaseException | None) -> None:
        with self._lock:
            self.left += 1
            if error is not None:
                self.errors.append(error)

    # -- plain -------------------------------------------------------------------

    def act(self, writer: SSEWriter) -> None:
        if self._act == "three":
            writer.send_events(iter(self._events))
            return
        writer.send_event("here")
        if self._act == "fail":
            raise RuntimeError("this stream fails on purpose")
        if self._act == "sleep":
            assert writer.wait(DEADLINE_S), "nobody ended the stream"
            writer.send_event("after the end")
        while True:
            writer.send_event("x" * 1000)

    def _guarded(self, writer: SSEWriter) -> None:
        try:
            self.act(writer)
        except BaseException as error:
            self.leaving(error)
            raise
        self.leaving(None)

    def plain_handler(self, event: H3Event) -> None:
        with event.start_sse() as writer:
            self.note(event)
            self._guarded(writer)

    def plain_callback(self, event: H3Event) -> None:
        event.start_sse()
        self.note(event)
        event.set_stream_callback(self._then_close)

    def _then_close(self, writer: SSEWriter) -> None:
        self._guarded(writer)
        writer.close()

    def plain_context(self, event: H3Event) -> None:
        event.start_sse()
        self.note(event)
        event.set_stream_callback(self._with_context, context=True, user_data=("data", event))

    def _with_context(self, context: StreamContext) -> None:
        assert context.user_data == ("data", context.event)
        assert isinstance(context.writer, SSEWriter)
        self._then_close(context.writer)

    def plain_generator(self, event: H3Event) -> Iterator[str]:
        self.note(event)
        try:
            yield from self.items()
        except BaseException as error:
            self.leaving(error)
            raise
        self.leaving(None)

    def items(self) -> Iterator[str]:
        if self._act == "three":
            yield from self._events
            return
        yield "here"
        if self._act == "fail":
            raise RuntimeError("this stream fails on purpose")
        if self._act == "sleep":
            assert self.go_on.wait(DEADLINE_S), "nobody let this stream go on"
        while True:
            yield "x" * 1000

    def plain_parked(self, event: H3Event) -> None:
        start = event.start_sse()
        self.note(event)
        for item in self._events if self._act == "three" else ("here",):
            start.send_event_nowait(item)
        if self._act == "fail":
            raise RuntimeError("this stream fails on purpose")

    # -- async -------------------------------------------------------------------

    async def aact(self, writer: AsyncSSEWriter) -> None:
        if self._act == "three":
            await writer.send_events(iter(self._events))
            return
        await writer.send_event("here")
        if self._act == "fail":
            raise RuntimeError("this stream fails on purpose")
        if self._act == "sleep":
            await trio.sleep_forever()
        while True:
            await writer.send_event("x" * 1000)

    async def _aguarded(self, writer: AsyncSSEWriter) -> None:
        try:
            await self.aact(writer)
        except BaseException as error:
            self.leaving(error)
            raise
        self.leaving(None)

    async def async_handler(self, event: H3Event) -> None:
        async with event.start_sse() as writer:
            self.note(event)
            await self._aguarded(writer)

    async def async_callback(self, event: H3Event) -> None:
        event.start_sse()
        self.note(event)
        event.set_stream_callback(self._athen_close)

    async def _athen_close(self, writer: AsyncSSEWriter) -> None:
        await self._aguarded(writer)
        writer.close()

    async def async_context(self, event: H3Event) -> None:
        event.start_sse()
        self.note(event)
        event.set_stream_callback(self._awith_context, context=True, user_data=("data", event))

    async def _awith_context(self, context: StreamContext) -> None:
        assert context.user_data == ("data", context.event)
        assert isinstance(context.writer, AsyncSSEWriter)
        await self._athen_close(context.writer)

    async def async_generator(self, event: H3Event) -> AsyncIterator[str]:
        self.note(event)
        try:
            if self._act == "three":
                for item in self._events:
                    yield item
            else:
                yield "here"
                if self._act == "fail":
                    raise RuntimeError("this stream fails on purpose")
                if self._act == "sleep":
                    await trio.sleep_forever()
                while True:
                    yield "x" * 1000
        except BaseException as error:
            self.leaving(error)
            raise
        self.leaving(None)

    async def async_parked(self, event: H3Event) -> None:
        self.plain_parked(event)


def settled(server: Any, *, streams: int) -> None:
    """Wait until that many streams have ended and nothing is open any more."""
    wait_until(
        lambda: (
            sum(server.closed_streams.values()) == streams
            and server.open_streams == 0
            and server.open_connections == 0
            and not server.driven
        ),
        what=f"{streams} streams have ended, and all is back to zero",
    )
    assert sum(server.closed_streams.values()) == streams


Serve = Callable[..., Any]
"""What the ``serve_app`` fixture gives."""
