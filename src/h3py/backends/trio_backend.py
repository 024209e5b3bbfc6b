"""The trio backend: a task per connection, worker threads for plain functions.

Accept, read, timers and shutdown, and nothing of the protocol: what is read
means something to ``Conversation``, what ends a stream to ``Stream``.

Threads: everything here runs on the trio loop, except what says otherwise. The
engine's reports are taken by a task in the outermost nursery, so that they
arrive until the last; the sweep runs there too.

A conversation's cancel scope surrounds all that is done for a connection,
handler calls included: cancelling it is how a lost client, a limit or a late
request reaches the code that waits. No scope of ours is ever open across a
``yield`` of the application's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from h3py.backends.accepting import Acceptor
from h3py.backends.callbacks import STOP_WAIT_S as CALLBACKS_WAIT_S
from h3py.backends.conversation import Conversation
from h3py.backends.exchange import BaseExchange
from h3py.backends.listeners import close_listeners, open_listeners, tls_context
from h3py.backends.steps import NO_LIFESPAN, Await, Call, Lifespan
from h3py.backends.trio_server import TrioDriver, TrioServer
from h3py.backends.trio_workers import WorkerSlot
from h3py.close_reason import CloseReason
from h3py.connection import BaseConnection, ThreadConnection, TrioConnection
from h3py.errors import ConnectionClosed, WriteError
from h3py.sse.blame import is_loss
from h3py.wire import TLSWire

if TYPE_CHECKING:
    import socket
    import ssl

    from h3py.backends.steps import Application
    from h3py.http import Request, Response
    from h3py.options import ServeOptions
    from h3py.sse.stream import Stream
    from h3py.wire import Wire

# How often late requests and slow clients are looked for.
SWEEP_S = 0.25
# How often the end of the drain is looked for.
DRAIN_LOOK_S = 0.02

_log = logging.getLogger("h3py.server")


class TrioConversation(Conversation):
    """A connection served by a task of its own."""

    __slots__ = ("scope",)

    server: TrioServer

    def __init__(self, server: TrioServer, wire: Wire, address: Any) -> None:
        super().__init__(server, wire, address)
        self.scope = trio.CancelScope()

    def stop(self) -> None:
        """The server stops: a connection between requests is closed."""
        super().stop()
        if self.over:
            self.scope.cancel()

    def expire(self) -> bool:
        """The deadline has passed: whatever waits here stops waiting."""
        late = super().expire()
        if late:
            self.scope.cancel()
        return late

    async def serve(self) -> None:
        """The whole life of the connection."""
        try:
            with self.scope:
                try:
                    if self.wire.tls:
                        await self._handshake()
                    await self._converse()
                except (ConnectionClosed, WriteError):
                    self.abort()
            if self.stream is None:
                self.answer_error()
        except Exception as error:  # noqa: BLE001  # logged; one connection ends no server
            # A nursery of the handler's brings the loss of its client in a group.
            if self.stream is None or not is_loss(error):
                _log.exception("a connection failed")
            self.abort()
        finally:
            # Cancelled from outside, or at its end: either way nobody drives it any more.
            if self.stream is not None:
                self.stream.finish(CloseReason.ERROR)
            self.finish()

    async def _handshake(self) -> None:
        wire = self.wire
        assert isinstance(wire, TLSWire)
        while not wire.handshake():
            if wire.unsent:
                await trio.lowlevel.wait_writable(wire.fd)
            else:
                await trio.lowlevel.wait_readable(wire.fd)

    async def _converse(self) -> None:
        wire = self.wire
        while not self.ended():
            try:
                requests = self.receive()
            except BlockingIOError:
                self.arm()
                await trio.lowlevel.wait_readable(wire.fd)
                continue
            for request in requests:
                self.deadline = None
                response = await self._perform(request)
                if response is None or self.stream is not None:
                    return
                keep = self.answer(request, response)
                if not wire.send(self.queue):
                    await self._drain()
                if not keep:
                    return
            if self.ended():
                return
            if self.parser.buffered:
                # A client that pipelines without end leaves room for the others.
                await trio.lowlevel.checkpoint()
            elif requests and not wire.tls:
                # The next request has hardly come yet: asking for it would only cost a call.
                # (Under TLS it may have been decrypted already, and no socket will tell.)
                self.arm()
                await trio.lowlevel.wait_readable(wire.fd)

    async def _drain(self) -> None:
        """Wait until a response has left; at most ``write_timeout_s`` for each part that leaves."""
        while not self.wire.send(self.queue):
            self.deadline = self.server.now() + self.server.options.write_timeout_s
            await trio.lowlevel.wait_writable(self.wire.fd)
        self.deadline = None

    async def _perform(self, request: Request) -> Response | None:
        """Drive the life of one request: perform each step it asks for."""
        exchange = TrioExchange(self, request)
        life = self.server.app.respond(request, exchange)
        try:
            step = next(life)
            while True:
                try:
                    if isinstance(step, Await):  # most often; each call between costs every request
                        result = await step.function(*step.args)
                    else:
                        result = await self._call(exchange, step)
                except BaseException as error:  # noqa: BLE001  # handed to the request's life
                    # Cancellation included: the life of the request unwinds with it.
                    step = life.throw(error)
                else:
                    step = life.send(result)
        except StopIteration as done:
            response: Response | None = done.value
            return response
        except Exception:  # noqa: BLE001  # logged; the client gets its 500
            return self.failed(request)

    async def _call(self, exchange: TrioExchange, step: Call) -> Any:
        if step.inline:
            return step.function(*step.args)
        exchange.slot = slot = WorkerSlot(self.server.workers)
        return await self.server.workers.run(slot, step.function, step.args)


class TrioExchange(BaseExchange):
    """A request on the trio backend; its stream is driven by the task, or by a worker thread."""

    __slots__ = ("slot",)

    conversation: TrioConversation

    def __init__(self, conversation: TrioConversation, request: Request) -> None:
        super().__init__(conversation, request)
        self.slot: WorkerSlot | None = None

    def drives(self, stream: Stream) -> bool:
        """Whether the calling task, or this very call in a worker thread, drives the stream."""
        driver: TrioDriver = stream.driver
        on_loop = self.conversation.server.on_loop()
        return driver.slot is (None if on_loop else self.slot)

    def claim_driver(self) -> TrioDriver:
        """A task is cancelled through the conversation's scope; a thread leaves the workers."""
        if self.conversation.server.on_loop():
            return TrioDriver(self.conversation.scope, None)
        if self.slot is None:
            raise RuntimeError("start_sse: call it in the handler's own task or thread")
        self.slot.move_to_streams()
        return TrioDriver(self.conversation.scope, self.slot)

    def make_connection(self) -> BaseConnection:
        """Driven by the task: it never blocks. Driven by a worker thread: it may."""
        conversation = self.conversation
        options = conversation.server.options
        if conversation.server.on_loop():
            return TrioConnection(
                conversation.wire, conversation.queue, buffer_bytes=options.buffer_bytes
            )
        return ThreadConnection(
            conversation.wire,
            conversation.queue,
            buffer_bytes=options.buffer_bytes,
            write_timeout_s=options.write_timeout_s,
        )

    async def await_body(self) -> None:
        """Wait for more of a streamed body."""
        conversation = self.conversation
        while True:
            try:
                conversation.receive_body()
            except BlockingIOError:
                conversation.arm()
                await trio.lowlevel.wait_readable(conversation.wire.fd)
                continue
            conversation.stop_waiting()
            return


async def serve_on_trio(
    app: Application,
    options: ServeOptions,
    lifespan: Lifespan = NO_LIFESPAN,
    *,
    task_status: trio.TaskStatus[TrioServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``Server.shutdown``; then end everything, gracefully first.

    Raises:
        ConfigError: The address or the certificate cannot be used.
    """
    context = tls_context(options)
    listeners = open_listeners(options)
    try:
        server = TrioServer(app, options)
        server.listening(listeners, tls=context is not None)
        server.start_engine()
        try:
            async with trio.open_nursery() as outermost:
                # The last to end: reports, and the callbacks they lead to, come to the end.
                outermost.start_soon(_take_reports, server)
                outermost.start_soon(_sweep, server)
                outermost.start_soon(_tell_of_cancellation, server)
                async with trio.open_nursery() as callbacks:
                    server.callbacks = callbacks
                    for step in lifespan.start:
                        await server.perform(step)
                    await _serve(server, context, lifespan, task_status)
                    await trio.to_thread.run_sync(server.end_engine)
                    server.take_last_reports()
                    callbacks.cancel_scope.deadline = trio.current_time() + CALLBACKS_WAIT_S
                await trio.to_thread.run_sync(server.callback_thread.stop)
                for step in lifespan.stop:
                    await server.run_background(step)
                outermost.cancel_scope.cancel()
        finally:
            server.callbacks = None
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.end_engine)
                server.take_last_reports()
                await trio.to_thread.run_sync(server.callback_thread.stop)
            server.ended.set()
    finally:
        close_listeners(listeners)


async def _serve(
    server: TrioServer,
    context: ssl.SSLContext | None,
    lifespan: Lifespan,
    task_status: trio.TaskStatus[TrioServer],
) -> None:
    """Accept and serve until the stop is asked for, then drain."""
    async with trio.open_nursery() as nursery:
        # A server that is cancelled tells its streams why they end before it cancels them.
        nursery.cancel_scope.shield = True
        try:
            async with trio.open_nursery() as accepting:
                acceptor = Acceptor(server, context)
                for listener in server.listeners:
                    accepting.start_soon(_accept, server, acceptor, listener, nursery)
                for step in lifespan.background:
                    accepting.start_soon(server.run_background, step)
                task_status.started(server)
                await server.stop_asked.wait()
                accepting.cancel_scope.cancel()
            close_listeners(server.listeners)
            server.begin_drain()
            with trio.move_on_after(server.options.drain_timeout_s):
                # The engine's reports come from anywhere: looking is simpler than being told.
                while server.draining:
                    await trio.sleep(DRAIN_LOOK_S)
                    server.drain_turns.look()
        finally:
            # What has not ended yet ends now.
            server.begin_drain()
            # Late ones are cut; the threads of code that does not end are left behind.
            server.workers.abandon()
            nursery.cancel_scope.cancel()


async def _accept(
    server: TrioServer, acceptor: Acceptor, listener: socket.socket, nursery: trio.Nursery
) -> None:
    while True:
        for wire, address in acceptor.accept(listener):
            nursery.start_soon(TrioConversation(server, wire, address).serve)
        if acceptor.pause_s:
            await trio.sleep(acceptor.pause_s)
        else:
            await trio.lowlevel.wait_readable(listener)


async def _take_reports(server: TrioServer) -> None:
    while True:
        await trio.lowlevel.wait_readable(server.engine.report_fd)
        server.take_reports()


async def _tell_of_cancellation(server: TrioServer) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        # From outside, or at the very end, where it changes nothing.
        server.forced = True
        server.stop_asked.set()
        raise


async def _sweep(server: TrioServer) -> None:
    while True:
        await trio.sleep(SWEEP_S)
        server.sweep()
