"""Worker threads of the trio backend: slots for requests, and for streams that hold a thread.

A plain function takes a request slot while it runs. Where it starts a stream it
may run for hours, so it leaves the request slots and is counted as a stream
instead; short requests are never starved by long streams. Threads are trio's.

Waiting for a slot is bounded (503). A thread whose code does not end by the
drain's deadline is left behind: trio's worker threads are daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from h3py.errors import ConnectionLost, HTTPError

if TYPE_CHECKING:
    from h3py.options import ServeOptions


class Workers:
    """The slots, and the threads that hold them."""

    def __init__(self, options: ServeOptions, token: trio.lowlevel.TrioToken) -> None:
        self.options = options
        self.token = token
        self.requests = trio.CapacityLimiter(options.workers)
        self.streams = 0
        self._lock = threading.Lock()
        self._running: set[trio.CancelScope] = set()

    async def run(
        self, slot: WorkerSlot, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        """Run ``function(*args)`` in a worker thread; not cancelled, only abandoned at the end.

        Raises:
            HTTPError: 503: no slot was free within ``worker_wait_s``.
        """
        with trio.CancelScope(shield=True) as scope:
            self._running.add(scope)
            try:
                return await trio.to_thread.run_sync(
                    function,
                    *args,
                    abandon_on_cancel=True,
                    limiter=slot,  # type: ignore[arg-type]  # has the two methods trio calls
                )
            finally:
                self._running.discard(scope)
        await trio.lowlevel.checkpoint()  # the server has ended: so does this task
        raise ConnectionLost("the server has stopped")

    def abandon(self) -> None:
        """Stop waiting for the threads that still run."""
        for scope in tuple(self._running):
            scope.cancel()

    def claim_stream(self) -> None:
        """Count a stream that holds a thread.

        Raises:
            HTTPError: 503: ``max_sync_streams`` of them run.
        """
        with self._lock:
            if self.streams >= self.options.max_sync_streams:
                raise HTTPError(
                    503,
                    "too many streams",
                    headers={"retry-after": str(self.options.retry_after_s)},
                )
            self.streams += 1

    def release_stream(self) -> None:
        """The thread of a counted stream is free."""
        with self._lock:
            self.streams -= 1


class WorkerSlot:
    """One thread's place: among the requests, or, once it streams, among the streams.

    trio calls the two ``..._on_behalf_of`` methods, from its loop.
    """

    __slots__ = ("_streaming", "_workers")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._streaming = False

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a request slot, a bounded time."""
        workers = self._workers
        try:
            workers.requests.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            with trio.move_on_after(workers.options.worker_wait_s) as scope:
                await workers.requests.acquire_on_behalf_of(self)
            if scope.cancelled_caught:
                raise HTTPError(
                    503,
                    "the server is busy",
                    headers={"retry-after": str(workers.options.retry_after_s)},
                ) from None
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def release_on_behalf_of(self, borrower: object) -> None:
        """The thread has finished."""
        if self._streaming:
            self._workers.release_stream()
        else:
            self._workers.requests.release_on_behalf_of(self)

    def move_to_streams(self) -> None:
        """Leave the request slots; called in the worker thread."""
        if self._streaming:
            return
        self._workers.claim_stream()
        self._streaming = True
        self._workers.token.run_sync_soon(self._workers.requests.release_on_behalf_of, self)
