"""Readiness: wait for many descriptors, each armed for one event at a time.

A descriptor that was reported is silent until it is armed again, and any thread
may arm it: so a worker gives a connection back to the thread that waits with one
system call and no queue. ``epoll`` with EPOLLONESHOT on Linux, ``kqueue`` with
EV_ONESHOT elsewhere; both are safe to change while another thread waits.

Owner: the thread that calls ``wait``. A descriptor must be forgotten (or closed)
before its number can mean another connection.
"""

from __future__ import annotations

import os
import select
import sys
import threading

# The most descriptors reported by one wait.
BATCH = 256

if sys.platform == "linux":

    class Readiness:
        """Descriptors waited for, by ``epoll``."""

        def __init__(self) -> None:
            # Reentrant, because a signal handler that wakes may interrupt ``close``.
            self._wake_lock = threading.RLock()
            self._epoll = select.epoll()
            self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._epoll.register(self._wake_read, select.EPOLLIN)

        def arm(self, fd: int, *, read: bool = True, write: bool = False) -> None:
            """Report ``fd`` once, when it can be read (or written, if asked for), or broke."""
            events = select.EPOLLONESHOT
            if read:
                events |= select.EPOLLIN | select.EPOLLRDHUP
            if write:
                events |= select.EPOLLOUT
            try:
                self._epoll.modify(fd, events)
            except FileNotFoundError:
                self._epoll.register(fd, events)

        def watch(self, fd: int) -> None:
            """Report ``fd`` whenever it can be read, again and again."""
            self._epoll.register(fd, select.EPOLLIN)

        def forget(self, fd: int) -> None:
            """Stop waiting for ``fd``; no matter if it is not waited for."""
            try:
                self._epoll.unregister(fd)
            except (FileNotFoundError, OSError, ValueError):
                return  # never armed, or closed already: the system has forgotten it itself

        def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
            """The descriptors that are ready, with their events; empty after a wake or in vain."""
            ready = self._epoll.poll(-1 if timeout_s is None else timeout_s, BATCH)
            return [item for item in ready if not self._is_wake(item[0])]

        def _is_wake(self, fd: int) -> bool:
            if fd != self._wake_read:
                return False
            try:
                while os.read(self._wake_read, 4096):
                    pass
            except BlockingIOError:
                pass
            return True

        def wake(self) -> None:
            """Let ``wait`` return; from any thread, and from a signal handler."""
            with self._wake_lock:
                if self._wake_write < 0:
                    return  # closed: nobody waits any more
                try:
                    os.write(self._wake_write, b"\0")
                except BlockingIOError:
                    return  # full: it will wake anyway

        def close(self) -> None:
            """Give the descriptors back."""
            self._epoll.close()
            with self._wake_lock:
                pipe = self._wake_read, self._wake_write
                self._wake_read = self._wake_write = -1
                for fd in pipe:
                    os.close(fd)

else:

    class Readiness:
        """Descriptors waited for, by ``kqueue``."""

        def __init__(self) -> None:
            # Reentrant, because a signal handler that wakes may interrupt ``close``.
            self._wake_lock = threading.RLock()
            self._kqueue = select.kqueue()
            self._wake_read, self._wake_write = os.pipe()
            os.set_blocking(self._wake_read, False)
            os.set_blocking(self._wake_write, False)
            self.watch(self._wake_read)

        def arm(self, fd: int, *, read: bool = True, write: bool = False) -> None:
            """Report ``fd`` once, when it can be read (or written, if asked for), or broke."""
            once = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            changes = []
            if read:
                changes.append(select.kevent(fd, select.KQ_FILTER_READ, once))
            if write:
                changes.append(select.kevent(fd, select.KQ_FILTER_WRITE, once))
            self._kqueue.control(changes, 0)

        def watch(self, fd: int) -> None:
            """Report ``fd`` whenever it can be read, again and again."""
            self._kqueue.control([select.kevent(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD)], 0)

        def forget(self, fd: int) -> None:
            """Stop waiting for ``fd``; no matter if it is not waited for."""
            for kind in (select.KQ_FILTER_READ, select.KQ_FILTER_WRITE):
                try:
                    self._kqueue.control([select.kevent(fd, kind, select.KQ_EV_DELETE)], 0)
                except OSError:
                    continue  # this one was not waited for

        def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
            """The descriptors that are ready; empty after a wake or in vain."""
            ready = self._kqueue.control(None, BATCH, timeout_s)
            found = {event.ident: event.filter for event in ready}
            if found.pop(self._wake_read, None) is not None:
                try:
                    while os.read(self._wake_read, 4096):
                        pass
                except BlockingIOError:
                    pass
            return list(found.items())

        def wake(self) -> None:
            """Let ``wait`` return; from any thread, and from a signal handler."""
            with self._wake_lock:
                if self._wake_write < 0:
                    return  # closed: nobody waits any more
                try:
                    os.write(self._wake_write, b"\0")
                except BlockingIOError:
                    return  # full: it will wake anyway

        def close(self) -> None:
            """Give the descriptors back."""
            self._kqueue.close()
            with self._wake_lock:
                pipe = self._wake_read, self._wake_write
                self._wake_read = self._wake_write = -1
                for fd in pipe:
                    os.close(fd)
