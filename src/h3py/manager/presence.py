"""Presence: telling the application who has come and gone.

Callbacks are plain functions and run one after the other, in the order in which
things happened, in one thread per manager: they may block, and delay nobody but
each other. What they raise is logged. Without callbacks there is no thread.

Owner: the manager. ``tell`` from any thread; ``stop`` lets what is queued run, and
waits for it a bounded time. What is told after that waits for what was told before.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

from h3py.app.functions import needs_trio
from h3py.errors import ConfigError

Happening = Literal["connect", "disconnect", "user_online", "user_offline", "reset"]
Callback = Callable[..., Any]
# What is to be called, with what; None: the end.
_Told = queue.SimpleQueue[tuple[tuple[Callback, ...], tuple[Any, ...]] | None]

# How long a manager that closes waits for callbacks that are still running.
STOP_WAIT_S = 5.0

_log = logging.getLogger("h3py.manager")


class Presence:
    """The callbacks, and the thread that calls them."""

    def __init__(self) -> None:
        self._callbacks: dict[Happening, tuple[Callback, ...]] = defaultdict(tuple)
        self._told: _Told = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped: threading.Thread | None = None  # the one before
        self._lock = threading.Lock()

    def add(self, happening: Happening, callback: Callback) -> None:
        """Have a plain function called from now on.

        Raises:
            TypeError: It cannot be called.
            ConfigError: It is async.
        """
        if not callable(callback):
            raise TypeError(f"on_{happening}: {callback!r} cannot be called")
        if needs_trio(callback):
            raise ConfigError(
                f"on_{happening}: give a plain function: it is called in a thread of the manager's"
            )
        with self._lock:
            self._callbacks[happening] += (callback,)

    def tell(self, happening: Happening, *args: Any) -> None:
        """Something has happened: its callbacks are called soon, in the order of these calls."""
        callbacks = self._callbacks.get(happening)
        if not callbacks:
            return
        with self._lock:
            if self._thread is None:
                self._told = queue.SimpleQueue()
                self._thread = threading.Thread(
                    target=_call_all,
                    args=(self._told, self._stopped),
                    name="h3py-presence",
                    daemon=True,
                )
                self._stopped = None
                self._thread.start()
            self._told.put((callbacks, args))

    def stop(self) -> None:
        """Let what is queued run, and end the thread; ``tell`` begins another."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._told.put(None)
                self._stopped = thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_WAIT_S)

    def forget_thread(self) -> None:
        """In a forked child, which has no thread: what the parent had queued is the parent's."""
        self._lock = threading.Lock()
        self._thread = self._stopped = None


def _call_all(told: _Told, before: threading.Thread | None) -> None:
    if before is not None:
        before.join()
        del before
    while (item := told.get()) is not None:
        callbacks, args = item
        for callback in callbacks:
            try:
                callback(*args)
            except BaseException:  # noqa: BLE001  # the application's; logged, and the next runs
                _log.exception("a presence callback failed")
        # A stream that has ended is not to be kept until the next thing happens.
        del item, callbacks, args
