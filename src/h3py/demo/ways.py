"""Streams that handlers write: three ways, a panel of the page each.

=========  ==========================================================
/counter   in the handler: ``with event.start_sse() as stream``
/tokens    a generator handler
/text      a callback, run once the handler has returned
=========  ==========================================================

The fourth way, a parked stream, is ``h3py.demo.live``. A client that comes back goes
on after its ``Last-Event-ID``. Every stream begins with a ``hello`` event that says
what the server was told, so that the page can show it. ``POST /drop`` ends a stream of
one tab, as a server or a network would, and the browser comes back by itself.

Threads: handlers run in worker threads; `OpenStreams` is the only thing they share.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from h3py import H3, H3Event, HTTPError, SSEEvent, StreamContext, StreamStart
from h3py.app.middleware import refuse_cross_origin
from h3py.demo.texts import ANSWERS, GREETINGS, VERSES

COUNT_EVERY_S = 0.25
TOKEN_EVERY_S = 0.045
TEXT_EVERY_S = 2.4
RETRY_MS = 1000
"""How soon a browser comes back to a dropped stream."""


class OpenStream(NamedTuple):
    """A stream of the page: which, and of which tab."""

    name: str
    tab: str
    stream: StreamStart


class OpenStreams:
    """The streams that are open now. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[OpenStream] = set()

    def add(self, name: str, event: H3Event) -> None:
        """Note the stream that ``event`` has begun, until it ends."""
        assert event.stream is not None
        entry = OpenStream(name, event.query.get("tab", ""), event.stream)
        with self._lock:
            self._open.add(entry)
        event.stream.on_close(lambda reason: self._remove(entry))

    def named(self, name: str, tab: str) -> list[StreamStart]:
        """The open streams of a name, of one tab."""
        with self._lock:
            return [entry.stream for entry in self._open if entry.name == name and tab == entry.tab]

    def _remove(self, entry: OpenStream) -> None:
        with self._lock:
            self._open.discard(entry)


def add_ways(app: H3, backend: str) -> dict[str, list[Callable[..., Any]]]:
    """Add the three streams; gives the functions that make each of them."""
    streams = OpenStreams()

    @app.get("/counter")
    def counter(event: H3Event) -> None:
        count = seen_before(event)
        with event.start_sse() as stream:
            streams.add("counter", event)
            stream.send_event(hello(event, backend))
            while True:
                count += 1
                stream.send_event(SSEEvent.json({"count": count}, event="count", id=str(count)))
                if stream.wait(COUNT_EVERY_S):
                    return

    @app.get("/tokens")
    def tokens(event: H3Event) -> Iterator[SSEEvent]:
        answer = tokens_of(ANSWERS[whole(event.query.get("q", "0")) % len(ANSWERS)])
        streams.add("tokens", event)
        yield hello(event, backend)
        for number in range(seen_before(event), len(answer)):
            yield SSEEvent.json({"text": answer[number]}, event="token", id=str(number + 1))
            time.sleep(TOKEN_EVERY_S)
        yield SSEEvent.json({"tokens": len(answer)}, event="done")

    @app.get("/text")
    def text(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(write_text, context=True)

    def write_text(context: StreamContext) -> None:
        stream, event, _ = context
        streams.add("text", event)
        stream.send_event(hello(event, backend))
        number = seen_before(event)
        while True:
            number += 1
            kind, pieces = ("verse", VERSES) if number % 2 else ("greeting", GREETINGS)
            piece = pieces[(number - 1) // 2 % len(pieces)]
            stream.send_event(SSEEvent(piece, event=kind, id=str(number)))
            if stream.wait(TEXT_EVERY_S):
                return

    app.use("/drop", refuse_cross_origin())

    @app.post("/drop")
    def drop(event: H3Event) -> None:
        name, tab = event.query.get("stream", ""), event.query.get("tab", "")
        if not name or not tab:
            raise HTTPError(400, "name the stream and the tab")
        for stream in streams.named(name, tab):
            stream.close()

    return {"counter": [counter], "tokens": [tokens], "text": [text, write_text]}


def hello(event: H3Event, backend: str) -> SSEEvent:
    """What every stream begins with: what the server was told, and when to come back."""
    told = {"lastEventId": last_event_id(event) or None, "backend": backend}
    return SSEEvent.json(told, event="hello", retry=RETRY_MS)


def last_event_id(event: H3Event) -> str:
    """The header of a browser that reconnects; the query of a page that starts anew."""
    return event.headers.get("last-event-id") or event.query.get("last-event-id") or ""


def seen_before(event: H3Event) -> int:
    """How many events the client had seen when it connected."""
    return whole(last_event_id(event))


def whole(text: str) -> int:
    """A small whole number that a client sent, or 0."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def tokens_of(text: str) -> list[str]:
    """Text in pieces such as a language model gives: a few letters, each with its space."""
    return re.findall(r"\s*\S{1,5}", text)
