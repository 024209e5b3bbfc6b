"""One request as the application sees its backend.

The exchange begins the stream of a request, says who the client is, and waits for
a body that is handed over in pieces. A backend adds what drives a stream and how a
task waits. It belongs to the conversation that the request came on, and ends with
the request.
"""

from __future__ import annotations

import random
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from h3py._speedups.format import SSEEvent, format_event
from h3py.backends.draining import retry_of
from h3py.backends.proxies import client_and_scheme
from h3py.close_reason import CloseReason
from h3py.connection import BaseConnection, wait_for
from h3py.errors import ConfigError, ConnectionClosed, WriteError
from h3py.http import HTTP_11, Request, encode_chunk, encode_stream_head, http_date
from h3py.sse.stream import Stream
from h3py.sse.writer import StreamStart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h3py.backends.conversation import Conversation
    from h3py.backends.server import Server
    from h3py.sse.host import StreamHome


# Different beginnings of streams that are kept ready.
OPENINGS = 256


class BaseExchange:
    """One request as the application sees the backend; backends add drivers and body waiting."""

    __slots__ = ("conversation", "request")

    def __init__(self, conversation: Conversation, request: Request) -> None:
        self.conversation = conversation
        self.request = request

    @property
    def server(self) -> Server:
        """The server this exchange is on."""
        return self.conversation.server

    @property
    def client(self) -> tuple[str, int] | None:
        """The client's address; behind a trusted proxy, what the proxy says."""
        return self._seen()[0]

    @property
    def scheme(self) -> str:
        """``"http"`` or ``"https"``; behind a trusted proxy, what the proxy says."""
        return self._seen()[1]

    def _seen(self) -> tuple[tuple[str, int] | None, str]:
        conversation = self.conversation
        return client_and_scheme(
            conversation.address,
            "https" if conversation.wire.tls else "http",
            self.request.headers,
            conversation.server.options.trusted_proxies,
        )

    def start_sse(self, status: int, headers: Iterable[tuple[str, str]]) -> StreamStart:
        """Write the head of a stream now; the connection is the stream's from here on.

        Raises:
            HTTPError: 503: the server stops, or has as many streams as it may; 429: the
                client's address has.
            ConnectionClosed: The client has gone.
            ValueError: A header that cannot be sent.
        """
        server = self.server
        head = self._head(status, headers)
        address = self._admit()
        try:
            driver = self.claim_driver()
        except BaseException:
            server.places.stream_gone(address)
            raise
        stream = self._take_over(driver, address)
        server.watch(stream)
        if self._begin(stream, head, send=True):
            server.wake_driver(driver)  # it would wait to write, and never learn of the end
        return StreamStart(stream)

    def park_sse(
        self, status: int, headers: Iterable[tuple[str, str]], home: StreamHome
    ) -> StreamStart:
        """Begin a stream that nobody will drive: its head waits for the first events.

        The caller parks it at once. Raises as ``start_sse``.
        """
        head = self._head(status, headers)
        stream = self._take_over(None, self._admit())
        stream.home = home
        self._begin(stream, head, send=False)
        return StreamStart(stream)

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        return encode_stream_head(
            status, headers, version=self.request.version, date=http_date(time.time())
        )

    def _admit(self) -> str | None:
        """Count the stream in; gives the address it counts for, if any."""
        places = self.server.places
        return places.admit_stream(self.client if places.by_address_limited else None)

    def _take_over(self, driver: Any, address: str | None) -> Stream:
        """The connection is the stream's from here on; it was admitted."""
        conversation = self.conversation
        request = self.request
        stream = Stream(
            conversation.server,
            self.make_connection(),  # type: ignore[arg-type]  # of the kind that this thread needs
            label=_label(request.method, request.path),
            last_event_id=request.headers.get("last-event-id"),
            driver=driver,
        )
        stream.address = address
        conversation.stream = stream
        conversation.stop_reading()
        return stream

    def _begin(self, stream: Stream, head: bytes, *, send: bool) -> bool:
        """Send or queue the head; True: that was all, and the stream has ended (HEAD)."""
        connection = stream.connection
        assert connection is not None
        try:
            if self.request.method == "HEAD":
                connection.begin_stream(head, chunked=False)
                stream.finish(CloseReason.HANDLER_DONE)
                return True
            chunked = self.request.version >= HTTP_11
            head += opening(self.server.options.retry_ms, chunked=chunked)
            connection.begin_stream(head, chunked=chunked, send=send)
            if send and connection.queued_bytes:
                self.server.want_writable(stream)
        except (ConnectionClosed, WriteError):
            stream.end(CloseReason.CLIENT_CLOSED)
        return False

    @property
    def cleanup_timeout_s(self) -> float:
        """How long a generator's clean-up may take once its stream has ended."""
        return self.server.options.cleanup_timeout_s

    def drive_here(self, start: StreamStart) -> None:
        """The calling task or thread drives the stream from now on.

        Raises:
            HTTPError: 503: too many streams hold a thread.
        """
        stream = start._stream
        old = stream.connection
        if old is None or self.drives(stream):
            return
        driver = self.claim_driver()
        connection = self.make_connection()
        connection.state, connection.chunked = old.state, old.chunked
        stream.drive(connection, driver)  # type: ignore[arg-type]  # one of the two kinds

    def drives(self, stream: Stream) -> bool:
        """Whether the caller is the stream's driver already."""
        return stream.thread == threading.get_ident()

    async def await_body(self) -> None:
        """Wait for more of a streamed body; only where there are tasks."""
        raise ConfigError("a body can be awaited on the trio backend only")

    def wait_body(self) -> None:
        """Block a thread until a streamed body has more bytes, is complete, or has an error."""
        conversation = self.conversation
        conversation.thread_reads = True
        try:
            while True:
                try:
                    conversation.receive_body()
                except BlockingIOError:
                    conversation.arm()
                    wait_for(conversation.wire.fd, None, write=False)
                else:
                    return
        finally:
            conversation.stop_waiting()

    def claim_driver(self) -> Any:
        """What ``Server.wake`` needs to reach whoever drives the stream that begins now."""
        raise RuntimeError("a backend must say what drives a stream")

    def make_connection(self) -> BaseConnection:
        """The connection of the stream that begins now."""
        raise RuntimeError("a backend must make the connection")


def opening(retry_ms: int | None, *, chunked: bool) -> bytes:
    """What follows a stream's head at once: when the client is to come back, if it must."""
    if retry_ms is None:
        return b""
    return random.choice(_openings(retry_ms, chunked))


@lru_cache(maxsize=256)
def _label(method: str, path: str) -> str:
    """What a stream is called in logs; streams of one route share it."""
    return f"{method} {path}"


@lru_cache(maxsize=16)
def _openings(retry_ms: int, chunked: bool) -> list[bytes]:
    """So many, evenly spread, that one of its own for each stream would spread no better."""
    spreads = [(part + 0.5) / OPENINGS for part in range(OPENINGS)]
    events = [format_event(SSEEvent(retry=retry_of(retry_ms, spread))) for spread in spreads]
    return [encode_chunk(event) if chunked else event for event in events]
