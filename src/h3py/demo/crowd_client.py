"""A helper process: opens many streams, counts what comes, and says so twice a second.

``python crowd_client.py HOST PORT STREAMS SECONDS`` writes lines of JSON::

    {"seconds": 0.5, "open": 1000, "failed": 0, "events": 50000, "bytes": 4100000,
     "p50_ms": 0.4, "p99_ms": 2.1}

It ends when its input ends (so it does not outlive the server that began it), when its
seconds are over, or when all of its streams have ended. It imports nothing of h3py, so it
begins at once. Plain sockets and one selector:
events are counted, not parsed, except for a few whose time is compared with the clock.

One thread. It opens a bounded number of connections at a time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import sys
import time
from typing import Final

REPORT_EVERY_S = 0.5
MAX_SECONDS = 60.0
MAX_STREAMS = 1000
OPENING_AT_ONCE = 64
RECEIVE_BYTES = 65536
SAMPLED: Final = 16
"""One stream of so many says how late its events are."""
MAX_SAMPLES = 4096

_DATA = b"\ndata: "
"""Each event here has one such line; what goes before them (``retry``) has none."""


class Stream:
    """One connection."""

    __slots__ = ("began", "last", "sampled", "socket")

    def __init__(self, sock: socket.socket, *, sampled: bool) -> None:
        self.socket = sock
        self.sampled = sampled
        self.began = False
        self.last = b""

    def count(self, data: bytes) -> int:
        """How many events these bytes bring, wherever the reads before ended."""
        seen = self.last + data
        self.last = seen[1 - len(_DATA) :]  # too short to be counted twice
        return seen.count(_DATA)


class Crowd:
    """The streams, and what they have received since the last report."""

    def __init__(self, host: str, port: int, streams: int) -> None:
        self.wanted = streams
        self.opened = 0
        self.open = 0
        self.failed = 0
        self.events = 0
        self.bytes = 0
        self.late_ms: list[float] = []
        self._address = (host, port)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        shown = f"[{host}]" if ":" in host else host
        self._request = (
            f"GET /crowd/stream HTTP/1.1\r\nHost: {shown}:{port}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        ).encode()
        self._opening = 0
        self._reported_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)

    def run(self, seconds: float) -> None:
        """Open the streams, and read them until it is over."""
        ends = time.monotonic() + seconds
        reports = time.monotonic() + REPORT_EVERY_S
        while (now := time.monotonic()) < ends:
            while self.opened < self.wanted and self._opening < OPENING_AT_ONCE:
                self._begin()
            if self.opened == self.wanted and not self.open and not self._opening:
                break
            if now >= reports:
                reports += REPORT_EVERY_S
                self._report()
            for key, _ in self._selector.select(max(0.0, reports - now)):
                if key.data is None:
                    if not os.read(0, 4096):
                        return
                else:
                    self._take(key.data)
        self._report()

    def _begin(self) -> None:
        self.opened += 1
        sock = socket.socket(self._family)
        sock.setblocking(False)
        stream = Stream(sock, sampled=self.opened % SAMPLED == 0)
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self.failed += 1
            sock.close()
            return
        self._opening += 1
        self._selector.register(sock, selectors.EVENT_WRITE, stream)

    def _take(self, stream: Stream) -> None:
        """A connection can be written to (it has come about) or read from."""
        sock = stream.socket
        try:
            if self._selector.get_key(sock).events == selectors.EVENT_WRITE:
                sock.send(self._request)
                self._selector.modify(sock, selectors.EVENT_READ, stream)
                return
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(stream)
            return
        if not stream.began:
            if not data.startswith(b"HTTP/1.1 200"):
                self._end(stream)
                return
            stream.began = True
            self._opening -= 1
            self.open += 1
            data = data.partition(b"\r\n\r\n")[2]
        self.bytes += len(data)
        self.events += stream.count(data)
        if stream.sampled and len(self.late_ms) < MAX_SAMPLES:
            self._sample(data)

    def _sample(self, data: bytes) -> None:
        """How late the newest event of these bytes is."""
        begin = data.rfind(_DATA) + len(_DATA)
        sent_at, found, _ = data[begin:].partition(b"\n")
        if begin >= len(_DATA) and found and sent_at.isdigit():
            self.late_ms.append((time.monotonic_ns() - int(sent_at)) / 1e6)

    def _end(self, stream: Stream) -> None:
        if stream.began:
            self.open -= 1
        else:
            self._opening -= 1
            self.failed += 1
        self._selector.unregister(stream.socket)
        stream.socket.close()

    def _report(self) -> None:
        late = sorted(self.late_ms)
        now = time.monotonic()
        told = {
            "seconds": now - self._reported_at,
            "open": self.open,
            "failed": self.failed,
            "events": self.events,
            "bytes": self.bytes,
            "p50_ms": late[len(late) // 2] if late else None,
            "p99_ms": late[len(late) * 99 // 100] if late else None,
        }
        self.events = self.bytes = 0
        self.late_ms = []
        self._reported_at = now
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Run with the arguments of the command line; all of them are bounded here."""
    host, port, streams, seconds = arguments
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * MAX_STREAMS)), hard))
    crowd = Crowd(host, int(port), max(1, min(int(streams), MAX_STREAMS)))
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        crowd.run(max(1.0, min(float(seconds), MAX_SECONDS)))


if __name__ == "__main__":
    main(sys.argv[1:])
