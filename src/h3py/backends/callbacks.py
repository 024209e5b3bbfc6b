"""Where the application's callbacks run: they may block, and what they raise harms nobody.

Plain functions run one after the other, in the order in which they were given, in a
thread of their owner's that is started when it is first needed: a callback that blocks
delays other callbacks and nothing else. A server has one for its streams' ``on_close``,
a manager one for presence. Coroutine functions are awaited on the trio loop.

Owner: the server or the manager. ``run`` from any thread; ``stop`` lets what is queued
run, and waits for the thread a bounded time (it is a daemon: an endless callback does
not keep the process). What is given after that waits for what was given before.
"""

from __future__ import annotations

import inspect
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from h3py.close_reason import CloseReason

# How long an owner that ends waits for callbacks that are still running.
STOP_WAIT_S = 5.0

# Calls, each with its arguments; None: the end.
_Calls = queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None]

_log = logging.getLogger("h3py.stream")


class CallbackThread:
    """Runs callbacks in order, in a thread of their own.

    Args:
        name: The thread's name.
        log: Where errors of callbacks are logged.
        failure: What is logged with them.
    """

    def __init__(self, name: str, log: logging.Logger, failure: str) -> None:
        self._name = name
        self._log = log
        self._failure = failure
        self._calls: _Calls = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped: threading.Thread | None = None  # the one before
        # Reentrant: a collection may end a stream, whose callbacks are given while others are.
        self._lock = threading.RLock()

    def run(self, functions: Iterable[Callable[..., Any]], *args: Any) -> None:
        """Have each of ``functions`` called with ``args``, soon, one after the other."""
        with self._lock:
            for function in functions:
                self._calls.put((function, args))
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(
            target=_call_all,
            args=(self._calls, self._stopped, self._log, self._failure),
            name=self._name,
            daemon=True,
        )
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            # They are called when the next ones are given, if there is a thread then.
            self._thread = None
            self._log.error("cannot start the thread for callbacks: %s", error)

    def stop(self) -> None:
        """Let what is queued run, and end the thread; ``run`` begins another."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                thread = self._stopped
            else:
                self._calls.put(None)
                self._calls = queue.SimpleQueue()
                self._stopped = thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_WAIT_S)

    def forget(self) -> None:
        """In a forked child, which has no thread: what the parent had queued is the parent's."""
        self._lock = threading.RLock()
        self._calls = queue.SimpleQueue()
        self._thread = self._stopped = None


def _call_all(
    calls: _Calls, before: threading.Thread | None, log: logging.Logger, failure: str
) -> None:
    if before is not None:
        before.join()
    while (call := calls.get()) is not None:
        function, args = call
        try:
            function(*args)
        except BaseException:  # the application's; logged, and the next runs
            log.exception(failure)
        # A stream that has ended is not to be kept until the next call.
        del call, function, args


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
