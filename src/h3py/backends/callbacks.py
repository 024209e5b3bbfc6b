"""Where on_close callbacks run: they may block, and what they raise harms nobody.

Plain functions run one after the other in one thread per server, started when it
is first needed: a callback that blocks delays other callbacks and nothing else.
Coroutine functions are awaited on the trio loop.

Owner: the server. ``run`` from any thread; ``stop`` lets what is queued run, and
then waits for the thread a bounded time (it is a daemon: an endless callback does
not keep the process).
"""

from __future__ import annotations

import inspect
import logging
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from h3py.close_reason import CloseReason
from h3py.sse.host import Callback

# How long a server that has ended waits for callbacks that are still running.
STOP_WAIT_S = 5.0

_log = logging.getLogger("h3py.stream")


class CallbackThread:
    """Runs callbacks in order, in a thread of their own."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callback, CloseReason] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, callback: Callback, reason: CloseReason) -> None:
        """Have ``callback`` called with ``reason``, soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="h3py-callbacks", daemon=True
                )
                self._thread.start()
        self._waiting.put((callback, reason))

    def stop(self) -> None:
        """Let what is queued run, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(STOP_WAIT_S)

    def _loop(self) -> None:
        while (item := self._waiting.get()) is not None:
            (context, function), reason = item
            try:
                context.run(function, reason)
            except BaseException:  # noqa: BLE001  # the application's; logged, and the next runs
                _log.exception("an on_close callback failed")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a callback must be awaited: an ``async def`` function, method or callable object."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


async def await_callback(
    function: Callable[[CloseReason], Awaitable[Any]], reason: CloseReason
) -> None:
    """Await one callback; its error is logged."""
    try:
        await function(reason)
    except Exception:  # noqa: BLE001  # the application's; logged
        _log.exception("an on_close callback failed")
