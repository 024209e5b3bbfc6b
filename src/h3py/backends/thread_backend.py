"""The threads backend: one thread reads for all, workers answer, blocking where they like.

The reading thread accepts, reads heads and bodies as they come, takes the
engine's reports and sweeps. Workers see complete requests only, so a silent, idle
or slow client holds no thread; a parked stream holds none either.

A connection is the reader's while it is being read, and a worker's from the
complete request to the end of its answer; then the worker arms its descriptor
again, which is all it takes to give it back. It is never in two hands: who is in
``_reading`` is armed, and both are changed as one, under a lock.

"Blocking" is ``poll(2)`` with a deadline on a non-blocking socket.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from h3py.backends.accepting import Acceptor
from h3py.backends.conversation import Conversation, plain_response
from h3py.backends.exchange import BaseExchange
from h3py.backends.listeners import close_listeners, open_listeners, tls_context
from h3py.backends.readiness import Readiness
from h3py.backends.server import Server
from h3py.backends.steps import NO_LIFESPAN, Await, Lifespan, Step
from h3py.backends.thread_workers import WorkerPool
from h3py.close_reason import CloseReason
from h3py.connection import ThreadConnection, wait_for
from h3py.errors import ConfigError, ConnectionClosed, WriteError
from h3py.wire import TLSWire

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from h3py.backends.steps import Application
    from h3py.http import Request, Response
    from h3py.options import ServeOptions
    from h3py.wire import Wire

# How often late requests and slow clients are looked for.
SWEEP_S = 0.25
# How often the end of the drain is looked for.
DRAIN_LOOK_S = 0.02

_log = logging.getLogger("h3py.server")


class ThreadServer(Server):
    """The hooks of ``Server``, and the reading thread's loop."""

    def __init__(self, app: Application, options: ServeOptions) -> None:
        super().__init__(app, options)
        self.readiness = Readiness()
        self.workers = WorkerPool(options, self.now, self.readiness.wake)
        self._stop_asked = False  # a plain name: signal handlers set it
        self._reading: dict[int, ThreadConversation] = {}
        self._hands = threading.Lock()  # a connection passes from a worker to the reader, or ends
        self._ended = False
        self._paused_until = 0.0

    def shutdown(self) -> None:
        """Begin a graceful shutdown; returns at once. From any thread, and more than once."""
        self._stop_asked = True
        self.readiness.wake()

    def read_until_stopped(self, context: ssl.SSLContext | None) -> None:
        """Accept and read, in this thread, until ``shutdown`` is called."""
        acceptor = Acceptor(self, context)
        by_fd = {listener.fileno(): listener for listener in self.listeners}
        for fd in by_fd:
            self.readiness.arm(fd)
        self.readiness.watch(self.engine.report_fd)
        swept = time.monotonic()
        while not self._stop_asked:
            for fd, _ in self.readiness.wait(SWEEP_S):
                if fd in by_fd:
                    self._accept(acceptor, by_fd[fd])
                else:
                    self._ready(fd)
            self.workers.start_wanted()
            if time.monotonic() - swept >= SWEEP_S:
                swept = time.monotonic()
                self.sweep()
                if self._paused_until and swept >= self._paused_until:
                    self._paused_until = 0.0
                    for fd in by_fd:
                        self.readiness.arm(fd)

    def drain(self) -> None:
        """Ask everything to end, and read on until it has, or the deadline."""
        for listener in self.listeners:
            self.readiness.forget(listener.fileno())
        close_listeners(self.listeners)
        self.begin_drain()
        deadline = time.monotonic() + self.options.drain_timeout_s
        while self.draining and time.monotonic() < deadline:
            for fd, _ in self.readiness.wait(DRAIN_LOOK_S):
                self._ready(fd)
            self.workers.start_wanted()
            self.sweep()
            self.drain_turns.look()

    def run_background(self, step: Step) -> None:
        """Background work, in a thread of its own: what it raises is logged."""
        try:
            step.function(*step.args)
        except Exception:  # noqa: BLE001  # the application's; logged
            _log.exception("background work failed")

    def end(self) -> None:
        """Cut what is left, and give everything back."""
        self.workers.stop()
        self.begin_drain()  # what has not ended yet ends now
        for stream in tuple(self.driven):
            # Its thread has had its time: it finds the connection gone when it comes back.
            stream.end(CloseReason.SHUTDOWN)
            stream.finish(CloseReason.SHUTDOWN)
        with self._hands:
            self._ended = True  # from here on nobody waits: a worker that comes back closes
        for conversation in tuple(self.conversations):
            assert isinstance(conversation, ThreadConversation)
            if self.taken_from_reading(conversation):
                conversation.abort()
            else:
                conversation.wire.shut_down()  # a worker is still at it: its client is told
        for stream in tuple(self.driven):
            if (connection := stream.connection) is not None:
                connection.wire.shut_down()
        self.end_engine()
        self.take_last_reports()
        self.callback_thread.stop()
        self.readiness.close()

    def sweep(self) -> None:
        """Besides what ``Server`` looks for: requests that no worker came for in time."""
        super().sweep()
        for job in self.workers.overdue():
            assert isinstance(job.connection, ThreadConversation)
            job.connection.refuse(job.requests[0])

    def _accept(self, acceptor: Acceptor, listener: socket.socket) -> None:
        for wire, address in acceptor.accept(listener):
            conversation = ThreadConversation(self, wire, address)
            self.read(conversation)
        if acceptor.pause_s:
            self._paused_until = time.monotonic() + acceptor.pause_s
        else:
            self.readiness.arm(listener.fileno())

    def read(self, conversation: ThreadConversation, *, write: bool = False) -> None:
        """Wait for a connection's next bytes; from the reading thread, or the worker it leaves."""
        fd = conversation.wire.fd
        with self._hands:
            armed = not self._ended
            if armed:
                self._reading[fd] = conversation
                try:
                    self.readiness.arm(fd, write=write)
                except OSError:
                    # No memory in the kernel to wait for one more: it ends, the others go on.
                    _log.exception("a connection cannot be waited for")
                    del self._reading[fd]
                    armed = False
        if not armed:
            conversation.abort()

    def _ready(self, fd: int) -> None:
        if fd == self.engine.report_fd:
            self.take_reports()
            return
        with self._hands:  # whoever armed it has done so: it may be closed from here on
            conversation = self._reading.pop(fd, None)
        if conversation is not None:
            conversation.advance()

    def given_back(self, conversation: ThreadConversation) -> None:
        """A worker has given a connection back: a server that began to stop just then saw none."""
        if self.stopping:
            conversation.stop()
        elif conversation.expired and self.taken_from_reading(conversation):
            conversation.finish()  # its time was up before it could be waited for

    def taken_from_reading(self, conversation: ThreadConversation) -> bool:
        """Whether the connection was the reader's; it is not any more, and not waited for."""
        fd = conversation.wire.fd
        with self._hands:
            if self._reading.get(fd) is not conversation:
                return False
            del self._reading[fd]
            self.readiness.forget(fd)
        return True


class ThreadConversation(Conversation):
    """A connection read by the reading thread and answered by workers."""

    __slots__ = ("_shaken",)

    blocking = True
    server: ThreadServer

    def __init__(self, server: ThreadServer, wire: Wire, address: Any) -> None:
        super().__init__(server, wire, address)
        self._shaken = not wire.tls

    # -- in the reading thread ---------------------------------------------------

    def advance(self) -> None:
        """Something can be read: read it, and hand over what is complete."""
        try:
            if not self._shaken and not self._handshake():
                return
            requests = self.receive()
        except BlockingIOError:
            self.wait_for_more()
        except (ConnectionClosed, WriteError):
            self.abort()
        else:
            if requests:
                self.deadline = None
                self.server.workers.submit(self, requests)
            elif self.over:
                self.answer_error()
                self.finish()
            else:
                self.wait_for_more()

    def wait_for_more(self) -> None:
        """Go back to the reading thread's care."""
        self.arm()
        self.server.read(self)

    def _handshake(self) -> bool:
        wire = self.wire
        assert isinstance(wire, TLSWire)
        self._shaken = wire.handshake()
        if not self._shaken:
            self.server.read(self, write=wire.unsent)
        return self._shaken

    def expire(self) -> bool:
        """The deadline has passed, while the connection was being read, or a body waited for."""
        late = super().expire()
        if late and self.server.taken_from_reading(self):
            self.answer_error()
            self.finish()
        return late

    def stop(self) -> None:
        """The server stops: a connection between requests is closed."""
        super().stop()
        if self.over and self.server.taken_from_reading(self):
            self.finish()

    def refuse(self, request: Request) -> None:
        """No worker came in time: 503, and a close."""
        retry = str(self.server.options.retry_after_s)
        self.over = True
        request.keep_alive = False
        self.answer(request, plain_response(503, b"the server is busy\n", [("retry-after", retry)]))
        self.finish()

    # -- in a worker ---------------------------------------------------------------

    def answer_all(self, requests: list[Request]) -> None:
        """Answer complete requests in order; then give the connection back."""
        try:
            self._answer_all(requests)
        except (ConnectionClosed, WriteError):
            self.abort()
        except BaseException:
            self.abort()
            raise
        finally:
            if self.stream is not None:
                # Whatever its handler did, nobody drives the stream any more.
                self.stream.finish(CloseReason.ERROR)

    def _answer_all(self, requests: list[Request]) -> None:
        while True:
            for request in requests:
                response = self._perform(request)
                if response is None or self.stream is not None:
                    return
                keep = self.answer(request, response)
                self._drain()
                if not keep:
                    self.finish()
                    return
            if self.ended():
                self.answer_error()
                self.finish()
                return
            if self.parser.buffered or self.wire.tls:
                # Requests held back, or decrypted already: no socket will tell of them.
                try:
                    requests = self.receive()
                except BlockingIOError:
                    requests = []
                if requests or self.ended():
                    continue
            if self.server.stopping:
                self.finish()
            else:
                self.wait_for_more()
                self.server.given_back(self)
            return

    def _drain(self) -> None:
        """Wait until the response has left; at most ``write_timeout_s`` for each part of it."""
        wire = self.wire
        while not wire.send(self.queue):
            deadline = time.monotonic() + self.server.options.write_timeout_s
            if not wait_for(wire.fd, deadline, write=True):
                raise ConnectionClosed("the client took nothing of the response in time")

    def _perform(self, request: Request) -> Response | None:
        """Drive the life of one request: perform each step it asks for."""
        exchange = ThreadExchange(self, request)
        life = self.server.app.respond(request, exchange)
        try:
            step = next(life)
            while True:
                try:
                    if type(step) is Await:
                        raise ConfigError("'async def' code needs the trio backend")
                    result = step.function(*step.args)
                except BaseException as error:  # noqa: BLE001  # handed to the request's life
                    step = life.throw(error)
                else:
                    step = life.send(result)
        except StopIteration as done:
            response: Response | None = done.value
            return response
        except Exception:  # noqa: BLE001  # logged; the client gets its 500
            return self.failed(request)


class ThreadExchange(BaseExchange):
    """A request on the threads backend; its stream is driven by the worker's thread."""

    __slots__ = ()

    conversation: ThreadConversation

    def claim_driver(self) -> None:
        """The worker leaves the pool."""
        self.conversation.server.workers.leave_for_stream()

    def make_connection(self) -> ThreadConnection:
        """A connection whose writes may wait."""
        conversation = self.conversation
        options = conversation.server.options
        return ThreadConnection(
            conversation.wire,
            conversation.queue,
            buffer_bytes=options.buffer_bytes,
            write_timeout_s=options.write_timeout_s,
        )


def serve_on_threads(
    app: Application,
    options: ServeOptions,
    lifespan: Lifespan = NO_LIFESPAN,
    *,
    started: Callable[[ThreadServer], None] = lambda server: None,
) -> None:
    """Serve until ``Server.shutdown``, in this thread; then end everything, gracefully first.

    Raises:
        ConfigError: The address or the certificate cannot be used.
    """
    context = tls_context(options)
    listeners = open_listeners(options)
    try:
        server = ThreadServer(app, options)
        server.listening(listeners, tls=context is not None)
        server.start_engine()
        try:
            for step in lifespan.start:
                step.function(*step.args)
            for step in lifespan.background:
                threading.Thread(
                    target=server.run_background, args=(step,), name="h3py-background", daemon=True
                ).start()
            started(server)
            server.read_until_stopped(context)
            server.drain()
        finally:
            server.end()
        for step in lifespan.stop:
            server.run_background(step)
    finally:
        close_listeners(listeners)
