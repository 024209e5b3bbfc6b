"""Presence: telling the application who has come and gone.

Callbacks are plain functions and run one after the other, in the order in which
things happened, in one thread per manager: they may block, and delay nobody but
each other. What they raise is logged. Without callbacks there is no thread.

Owner: the manager. ``tell`` from any thread; ``stop`` lets what is queued run, and
waits for it a bounded time.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

from h3py.app.functions import needs_trio
from h3py.backends.callbacks import CallbackThread
from h3py.errors import ConfigError

Happening = Literal["connect", "disconnect", "user_online", "user_offline", "reset"]
Callback = Callable[..., Any]

_log = logging.getLogger("h3py.manager")


class Presence:
    """The callbacks, and the thread that calls them."""

    def __init__(self) -> None:
        self._callbacks: dict[Happening, tuple[Callback, ...]] = defaultdict(tuple)
        self._thread = CallbackThread("h3py-presence", _log, "a presence callback failed")
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
        if callbacks := self._callbacks.get(happening):
            self._thread.run(callbacks, *args)

    def stop(self) -> None:
        """Let what is queued run, and end the thread; ``tell`` begins another."""
        self._thread.stop()

    def forget_thread(self) -> None:
        """In a forked child, which has no thread: what the parent had queued is the parent's."""
        self._lock = threading.Lock()
        self._thread.forget()
