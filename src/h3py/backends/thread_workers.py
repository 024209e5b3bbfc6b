"""The worker threads of the threads backend.

Complete requests wait in one queue; threads are started as they are needed, up
to ``workers``, and kept. A thread that begins to stream leaves the pool: its
place is free at once, and when the stream has ended the thread comes back or
ends. So long streams cannot starve short requests.

Owner: the server. ``submit``, ``overdue`` and ``start_wanted`` are called by the
thread that reads; the rest by the workers. A worker that leaves asks that thread to
start another in its place: starting one goes so deep that it would cost each stream's
thread another page of stack. All threads are daemons: code that does not end by the
drain's deadline does not keep the process.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.http import Request
    from h3py.options import ServeOptions

_log = logging.getLogger("h3py.server")


_started = threading.Event()
_started.set()


class Answerer(Protocol):
    """A connection whose complete requests a worker answers."""

    def answer_all(self, requests: list[Request]) -> None:
        """Answer them in order, and see to what becomes of the connection."""


class Job(NamedTuple):
    """Requests that wait for a worker, and since when."""

    connection: Answerer
    requests: list[Request]
    since: float


def _own_context() -> dict[str, Any]:
    """A thread's context is its own, not the starter's: that may be a request's."""
    return {"context": Context()} if sys.version_info >= (3, 14) else {}  # before, it always is


class WorkerPool:
    """Threads that serve complete requests."""

    def __init__(
        self, options: ServeOptions, now: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._options = options
        self._now = now
        self._wake = wake  # the thread that reads
        self._wanted = False
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._idle = 0
        self._threads = 0  # that serve requests: idle ones, and busy ones that do not stream
        self._streams = 0  # that stream
        self._stopping = False
        # By identifier: a threading.local would cost each thread half a kilobyte, and stack.
        self._streaming: set[int] = set()

    @property
    def free(self) -> int:
        """How many requests could begin at once."""
        with self._lock:
            return self._options.workers - self._threads + self._idle - len(self._jobs)

    @property
    def streaming(self) -> int:
        """How many of the threads stream."""
        with self._lock:
            return self._streams

    def submit(self, connection: Answerer, requests: list[Request]) -> None:
        """Have a connection's requests answered by a worker, as soon as one is free."""
        with self._lock:
            self._jobs.append(Job(connection, requests, self._now()))
            if self._idle >= len(self._jobs):
                self._work.notify()
            elif self._threads < self._options.workers:
                self._start_thread()

    def start_wanted(self) -> None:
        """Start the threads that jobs wait for since workers have left for their streams."""
        if not self._wanted:
            return
        with self._lock:
            self._wanted = False
            for _ in range(len(self._jobs) - self._idle):
                if self._threads < self._options.workers and not self._stopping:
                    self._start_thread()

    def overdue(self) -> list[Job]:
        """Take out the jobs that have waited longer than ``worker_wait_s``."""
        with self._lock:
            limit = self._now() - self._options.worker_wait_s
            late = []
            while self._jobs and self._jobs[0].since <= limit:
                late.append(self._jobs.popleft())
            return late

    def leave_for_stream(self) -> None:
        """The calling worker will stream: its place is free from now on.

        Raises:
            HTTPError: 503: ``max_sync_streams`` threads stream.
        """
        thread = threading.get_ident()
        if thread in self._streaming:
            return
        with self._lock:
            if self._streams >= self._options.max_sync_streams:
                raise HTTPError(
                    503,
                    "too many streams",
                    headers={"retry-after": str(self._options.retry_after_s)},
                )
            self._streams += 1
            self._threads -= 1
            self._streaming.add(thread)
            self._wanted = len(self._jobs) > self._idle
        if self._wanted:
            self._wake()

    def stop(self) -> None:
        """Let idle threads end; busy ones end with what they do."""
        with self._lock:
            self._stopping = True
            self._work.notify_all()

    def _start_thread(self) -> None:
        """With the lock held."""
        thread = threading.Thread(
            target=self._loop, name="h3py-worker", daemon=True, **_own_context()
        )
        try:
            thread.start()
        except RuntimeError as error:
            # What waits is taken by the workers there are, or refused in time.
            _log.error("cannot start a worker: %s", error)
            return
        # What its start was waited for with is of no more use, and takes 800 bytes.
        thread._started = _started  # type: ignore[attr-defined]
        self._threads += 1

    def _loop(self) -> None:
        thread = threading.get_ident()
        while True:
            with self._lock:
                while not self._jobs:
                    if self._stopping:
                        self._threads -= 1
                        return
                    self._idle += 1
                    self._work.wait()
                    self._idle -= 1
                connection, requests, _ = self._jobs.popleft()
            try:
                connection.answer_all(requests)
            except BaseException:  # noqa: BLE001  # SystemExit, too: logged; the worker goes on
                _log.exception("a worker's connection failed")
            # A worker that waits for its next request keeps nothing of the last one.
            del connection, requests
            if thread in self._streaming:
                with self._lock:
                    self._streaming.discard(thread)
                    self._streams -= 1
                    if self._threads >= self._options.workers or self._stopping:
                        return
                    self._threads += 1
