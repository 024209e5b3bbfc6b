"""The server on a trio loop: waking drivers, callbacks that are awaited, steps, telling it to stop.

The hooks of ``Server`` that know trio. Everything here may be called from any
thread; what must happen on the loop is handed to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from h3py.backends.callbacks import await_callback, is_async
from h3py.backends.server import Server
from h3py.backends.steps import Await, Step
from h3py.backends.trio_workers import Workers, WorkerSlot
from h3py.close_reason import CloseReason
from h3py.connection import BaseConnection

if TYPE_CHECKING:
    from h3py.backends.steps import Application
    from h3py.options import ServeOptions
    from h3py.sse.host import Callback
    from h3py.sse.stream import Stream

_log = logging.getLogger("h3py.server")


class TrioDriver:
    """Who drives a stream: a task, reached by its scope, or a worker thread."""

    __slots__ = ("scope", "slot", "task")

    def __init__(self, scope: trio.CancelScope, slot: WorkerSlot | None) -> None:
        self.scope = scope
        self.slot = slot
        self.task = trio.lowlevel.current_task() if slot is None else None


class TrioServer(Server):
    """The hooks of ``Server`` on a trio loop."""

    def __init__(self, app: Application, options: ServeOptions) -> None:
        super().__init__(app, options)
        self.token = trio.lowlevel.current_trio_token()
        self.loop_thread = threading.get_ident()
        self.workers = Workers(options, self.token)
        self.stop_asked = trio.Event()
        self.ended = trio.Event()
        self.callbacks: trio.Nursery | None = None

    def on_loop(self) -> bool:
        """Whether this is the loop's thread."""
        return threading.get_ident() == self.loop_thread

    def soon(self, function: Any, *args: Any) -> None:
        """Run a plain function on the loop: now if this is its thread, else soon."""
        if self.on_loop():
            function(*args)
        else:
            try:
                self.token.run_sync_soon(partial(function, *args))
            except trio.RunFinishedError:
                return  # the loop has ended, and with it whatever was to be told

    def shutdown(self) -> None:
        """Begin a graceful shutdown; returns at once. From any thread, a signal handler too."""
        try:
            self.token.run_sync_soon(self.stop_asked.set, idempotent=True)
        except trio.RunFinishedError:
            return  # it has ended already

    def drives(self, stream: Stream) -> bool:
        """Whether the caller is the driving thread, the driving task, or a task below it."""
        driver: TrioDriver | None = stream.driver
        if driver is None or driver.task is None or not self.on_loop():
            return super().drives(stream)
        try:
            task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        except RuntimeError:
            return False  # between tasks: a callback of the loop itself
        while task is not None and task is not driver.task:
            task = task.parent_nursery and task.parent_nursery.parent_task
        return task is not None

    def wake(self, stream: Stream) -> None:
        """Cancel the task that drives a stream; a thread is woken through its socket."""
        driver: TrioDriver | None = stream.driver
        if driver is None:
            return
        if driver.slot is None:
            self.soon(driver.scope.cancel)
        else:
            self.wake_thread(stream)

    def wake_driver(self, driver: TrioDriver) -> None:
        """A task is cancelled; a thread finds out when it writes."""
        if driver.slot is None:
            driver.scope.cancel()

    async def perform(self, step: Step) -> Any:
        """Run one step outside any request: a hook of the application, or its background work."""
        if isinstance(step, Await):
            return await step.function(*step.args)
        return await trio.to_thread.run_sync(
            step.function, *step.args, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )

    async def run_background(self, step: Step) -> None:
        """Background work: what it raises is logged, and the server goes on."""
        try:
            await self.perform(step)
        except Exception:  # noqa: BLE001  # the application's; logged
            _log.exception("background work failed")

    def release_descriptor(self, connection: BaseConnection) -> None:
        """End whoever waits for the descriptor here: it will be another connection's number."""
        if connection.wire.fd >= 0 and self.on_loop():
            trio.lowlevel.notify_closing(connection.wire.fd)

    def check_callback(self, callback: Callable[..., Any]) -> None:
        """Any callback can run here."""

    def run_callback(self, callback: Callback, reason: CloseReason) -> None:
        """Await an ``async def`` callback on the loop; a plain one runs in the callback thread."""
        context, function = callback
        if is_async(function):
            self.soon(context.run, self._start_callback, function, reason)
        else:
            super().run_callback(callback, reason)

    def _start_callback(self, function: Any, reason: CloseReason) -> None:
        if self.callbacks is not None:
            self.callbacks.start_soon(await_callback, function, reason)
