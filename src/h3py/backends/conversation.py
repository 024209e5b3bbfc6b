"""One client connection, from accept to its end, without the waiting.

A conversation owns the wire, the parser and the deadline of what it waits for.
Its backend's task or thread calls ``receive`` when there may be something to
read, performs each request, and gives the response to ``answer``. Reading and
deciding is written here once; waiting is the backend's.

It ends in one of three ways: a stream takes the connection over (``stream`` is
set, and nothing here touches the wire again), ``finish`` hands it to the engine
to be closed gently, or ``abort`` closes it at once.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from h3py.errors import (
    AllocationError,
    ConnectionClosed,
    RequestError,
    WriteError,
)
from h3py.http import (
    CONTINUE,
    BodyStream,
    Phase,
    Request,
    RequestParser,
    Response,
    asks_close,
    encode_error,
    encode_response,
    http_date,
)
from h3py.options import Limits
from h3py.sse.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h3py.backends.server import Server
    from h3py.wire import Wire

READ_BYTES = 64 * 1024

# Whether a deadline was met is decided once, between the sweep and a thread that reads; for all
# conversations, because it is rare and short.
_expiring = threading.Lock()

_log = logging.getLogger("h3py.server")


class Conversation:
    """The requests and answers of one connection; backends add the waiting.

    Attributes:
        over: Nothing more will be read: the peer has ended, or sent what was wrong.
        deadline: When what is being waited for is late, on the server's clock; None
            while a handler runs.
        answered_last: The connection's last response has been queued.
        body_left_s: What is left of the time for a body that is taken in pieces; None: all.
        response_late: The client takes nothing of a response, and has run out of time.
        thread_reads: A thread reads a body, and with it the parser is in its hands.
    """

    __slots__ = (
        "address",
        "answered_last",
        "body_left_s",
        "deadline",
        "expired",
        "over",
        "parser",
        "phase",
        "queue",
        "response_late",
        "server",
        "stream",
        "thread_reads",
        "wire",
    )

    blocking = False
    """Whether a thread drives the connection while it answers."""

    def __init__(self, server: Server, wire: Wire, address: Any) -> None:
        self.server = server
        self.wire = wire
        self.address = address
        self.parser = RequestParser(server.options.limits, wants_stream=server.app.wants_stream)
        self.queue = server.new_queue(blocking=self.blocking)
        self.phase = Phase.IDLE
        # A client that connects and says nothing has less patience to claim than one
        # that has been served before.
        self.deadline: float | None = server.now() + server.options.header_timeout_s
        self.stream: Stream | None = None
        self.over = False
        self.answered_last = False
        self.expired = False
        self.response_late = False
        self.thread_reads = False
        self.body_left_s: float | None = None
        server.conversations.add(self)

    # -- reading -----------------------------------------------------------------

    def receive(self) -> list[Request]:
        """The requests that what has arrived completes.

        Raises:
            BlockingIOError: Nothing has arrived.
            ConnectionClosed: The connection broke.
        """
        parser = self.parser
        if parser.buffered:
            data = b""
        else:
            data = self.wire.recv(READ_BYTES)
            if not data:
                parser.feed_eof()
                self.over = True
                return []
        requests = parser.feed(data)
        if parser.error is not None:
            self.over = True
        elif parser.take_continue():
            self.queue.append_end(CONTINUE)  # the limits are for events
            self.wire.send(self.queue)
        return requests

    def ended(self) -> bool:
        """Whether nothing more is to be read: as ``over``, asked anew at each call."""
        return self.over

    def arm(self) -> None:
        """Set the deadline of what is waited for now; bytes that trickle in do not move it."""
        phase = self.parser.phase
        if self.deadline is not None and phase is self.phase:
            return
        options = self.server.options
        self.phase = phase
        allowed = {
            Phase.IDLE: options.keep_alive_timeout_s,
            Phase.HEAD: options.header_timeout_s,
            Phase.BODY: options.body_timeout_s,
        }[phase]
        if phase is Phase.BODY and self.body_left_s is not None:
            allowed = self.body_left_s
        self.deadline = self.server.now() + allowed

    def stop_waiting(self) -> None:
        """A piece of a body has come: the time until the next is wanted does not count."""
        with _expiring:
            self.thread_reads = False
            if self.deadline is not None:
                self.body_left_s = self.deadline - self.server.now()
                self.deadline = None

    def expire(self) -> bool:
        """The deadline has passed; backends also make whoever waits here notice.

        Returns:
            False: what was waited for has come just now.
        """
        with _expiring:
            if self.deadline is None or self.server.now() < self.deadline:
                return False
            self.deadline = None
            self.expired = True
            if self.thread_reads:
                # It may be in the middle of feeding the parser, so it says so to the parser
                # itself; it wakes from this, and the answer can still be sent.
                self.wire.shut_reading()
                return True
        self._give_up()
        return True

    def _give_up(self) -> None:
        """What was to come is late; by whoever has the parser."""
        self.over = True
        if self.queue.queued_bytes:
            # A response is late, not a request: there is no answering that.
            self.response_late = True
        elif self.parser.phase is not Phase.IDLE and self.parser.error is None:
            waited = "head" if self.parser.phase is Phase.HEAD else "body"
            self.parser.fail(RequestError(408, f"the request's {waited} took too long"))

    def stop(self) -> None:
        """The server stops: a connection that is between requests is over."""
        if self.deadline is not None and self.parser.phase is Phase.IDLE:
            self.over = True

    def receive_body(self) -> None:
        """Feed what has arrived of a body that is handed over in pieces.

        Raises:
            BlockingIOError: Nothing has arrived.
            ConnectionClosed: The connection broke.
        """
        if self.expired and not self.over:
            self._give_up()
        if self.over:
            # The parser has said so to the body. There is nothing to wait for.
            self.parser.feed_eof()
            return
        self.receive()

    def stop_reading(self) -> None:
        """A stream takes the connection over: what reading needed is given back."""
        self.over = True
        self.server.conversations.discard(self)
        self.parser.feed_eof()  # a body that is still awaited learns that no more of it comes
        self.parser = _SPENT

    # -- answering ---------------------------------------------------------------

    def answer(self, request: Request, response: Response) -> bool:
        """Queue a response; False where it is the connection's last."""
        body = request.body
        keep = (
            request.keep_alive
            and not self.server.stopping
            and (type(body) is bytes or (isinstance(body, BodyStream) and body.complete))
            and not asks_close(response.headers)
        )
        self.body_left_s = None
        if not keep:
            self.over = self.answered_last = True
        try:
            data = self._encode(request, response, keep)
        except (TypeError, ValueError):
            # A header that cannot be sent: the application's mistake, and never half a response.
            _log.exception("a response to %s %s cannot be sent", request.method, request.path)
            data = self._encode(request, _failure(), keep)
        # A response is sent whole before the next is made, so the cap is for streams alone.
        self.queue.append_end(data)
        return keep

    def _encode(self, request: Request, response: Response, keep: bool) -> bytes:
        return encode_response(
            response.status,
            response.headers,
            response.body,
            version=request.version,
            keep_alive=keep,
            head_only=request.method == "HEAD",
            date=http_date(time.time()),
        )

    def answer_error(self) -> None:
        """Queue the answer to what was wrong with the client's bytes, if anything was."""
        error = self.parser.error
        if error is not None and not self.answered_last:
            self.queue.append_end(encode_error(error, date=http_date(time.time())))

    def failed(self, request: Request) -> Response:
        """What a handler's failure outside the application's own error handling becomes."""
        _log.exception("serving %s %s failed", request.method, request.path)
        return _failure()

    # -- ending ------------------------------------------------------------------

    def finish(self) -> None:
        """Hand the connection to the engine: the rest is sent, then it is closed gently."""
        self.server.conversations.discard(self)
        if self.response_late:
            self.abort()
        elif self.stream is None and self.wire.fd >= 0:
            try:
                self.server.close_gently(self.wire, self.queue)
            except (ConnectionClosed, WriteError, AllocationError, OSError):
                # The engine would not have it, or it broke meanwhile: gently or not, it ends.
                self.abort()

    def abort(self) -> None:
        """Close the connection now."""
        self.server.conversations.discard(self)
        if self.stream is None and self.wire.fd >= 0:
            self.queue.clear()
            self.wire.close()
            self.server.connection_gone()


# The parser of connections that are not read any more: a stream may last for days, and a
# parser of its own would be a tenth of its memory.
_SPENT = RequestParser(Limits())
_SPENT.feed_eof()


def plain_response(status: int, text: bytes, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A short answer in plain text, from the backend itself."""
    return Response(status, [("content-type", "text/plain; charset=utf-8"), *headers], text)


def _failure() -> Response:
    return plain_response(500, b"Internal Server Error\n")
