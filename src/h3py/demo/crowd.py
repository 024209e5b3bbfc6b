"""A thousand streams: a helper process opens them, and the page shows what arrives there.

``POST /crowd/start`` begins ``crowd_client.py`` with its streams to this server
(``GET /crowd/stream``), and a thread that publishes to all of them at the rate that was
asked for. What the helper counts goes to the windows, on the channel ``crowd``.

It ends with ``POST /crowd/stop``, after a minute, and with the demo; the helper also ends
by itself when the pipe to it closes. There is one at a time, and everything about it is
bounded. The streams have a manager of their own, without history: what they are sent is
worth nothing a moment later, and must not push out what the page's own history keeps.

Threads: the publisher and the helper's reader, while there is a helper. State under a lock.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

from h3py import (
    H3,
    BackpressureDetected,
    H3Event,
    HTTPError,
    ManagerClosed,
    MemoryBroker,
    SSEEvent,
    SSEManager,
    Subscription,
)
from h3py.app.middleware import refuse_cross_origin
from h3py.demo import crowd_client
from h3py.demo.crowd_client import MAX_SECONDS, MAX_STREAMS
from h3py.demo.live import Live

MAX_RATE = 1000
BEAT_S = 0.01
MAX_BEAT_S = 0.1
"""What a late beat makes up for."""
END_S = 3.0
"""How long a helper that was asked to end may take before it is killed."""


class Starting(Struct, forbid_unknown_fields=True):
    """How many streams, how many events a second to each of them."""

    streams: Annotated[int, Meta(ge=1, le=MAX_STREAMS)] = MAX_STREAMS
    rate: Annotated[int, Meta(ge=1, le=MAX_RATE)] = 100


class Crowd:
    """The helper, and what it does.

    Attributes:
        address: Where this server listens; None until that is known.
        state: What the page is shown.
    """

    def __init__(self) -> None:
        self.address: tuple[str, int] | None = None
        self.manager = SSEManager(MemoryBroker(max_events=0), policy="drop_oldest")
        self.rate = 0
        self.state: dict[str, Any] = {"state": "stopped"}
        self._lock = threading.Lock()
        self._helper: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._live: Live | None = None
        self._stopping = False

    def serve_at(self, addresses: list[Any]) -> None:
        """The server listens now; where that is everywhere, the helper comes by loopback."""
        for address in addresses:
            if isinstance(address, tuple):
                host = str(address[0])
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
                self.address = (host, address[1])
                return

    @property
    def pid(self) -> int | None:
        """The helper's process id, while there is one."""
        helper = self._helper
        return helper.pid if helper is not None and helper.poll() is None else None

    @staticmethod
    def leave_out(record: logging.LogRecord) -> bool:
        """A filter for the log: the ends of a thousand streams are one thing, not a thousand."""
        return "/crowd/stream" not in record.getMessage()

    def add_to(self, app: H3, live: Live) -> dict[str, list[Callable[..., Any]]]:
        """Add the endpoints; gives the functions that the page shows."""
        self._live = live
        app.use("/crowd", refuse_cross_origin())

        @app.get("/crowd/stream")
        def crowd_stream(event: H3Event) -> Subscription:
            return self.manager.subscribe(event, channels=["crowd"])

        @app.post("/crowd/start")
        def start(event: H3Event) -> dict[str, Any]:
            asked = event.read_json(Starting)
            self.start(asked.streams, asked.rate)
            return self.state

        @app.post("/crowd/stop")
        def stop(event: H3Event) -> None:
            self.stop()

        @app.get("/crowd")
        def crowd(event: H3Event) -> dict[str, Any]:
            return self.state

        @app.on_start
        def begin() -> None:
            self._stopping = False

        @app.on_stop
        def end() -> None:
            self._stopping = True
            self.stop()

        return {"crowd": [crowd_stream, self.publish]}

    def start(self, streams: int, rate: int) -> None:
        """Begin, or change the rate of what has begun.

        Raises:
            HTTPError: 503, the demo does not know its own address, or stops.
        """
        with self._lock:
            self.rate = rate
            if self.pid is not None:
                return
            if self.address is None or self._stopping:
                raise HTTPError(503, "the demo does not know where it is served")
            self._join()
            self._ended = ended = threading.Event()
            helper = self._helper = subprocess.Popen(
                [
                    *(sys.executable, "-I", crowd_client.__file__),
                    *map(str, (*self.address, streams, MAX_SECONDS)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the server, which ends it in order
            )
            self.state = {"state": "opening", "open": 0, "wanted": streams, "rate": rate}
            for function in (self.publish, self._watch):
                thread = threading.Thread(
                    target=function, args=(helper, ended), name="demo crowd", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """End the helper, and wait until it has gone; nothing where there is none."""
        with self._lock:
            helper = self._helper
            self._ended.set()
            if helper is None:
                return
            assert helper.stdin is not None
            helper.stdin.close()
            try:
                helper.wait(END_S)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait()
            self._helper = None
            self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(END_S)
        self._threads.clear()

    def publish(self, helper: subprocess.Popen[bytes], ended: threading.Event) -> None:
        """Publish to all of them, at the rate of the moment, a hundredth of a second at a time."""
        due, before = 0.0, time.monotonic()
        while not ended.wait(BEAT_S):
            now = time.monotonic()
            due += self.rate * min(now - before, MAX_BEAT_S)
            before = now
            while due >= 1:
                due -= 1
                event = SSEEvent(str(time.monotonic_ns()), event="tick")
                try:
                    self.manager.send_to_channel("crowd", event)
                except BackpressureDetected:
                    due = 0.0  # publishing waits for sending, and makes nothing up for it
                except ManagerClosed:
                    return

    def _watch(self, helper: subprocess.Popen[bytes], ended: threading.Event) -> None:
        """Tell the windows what the helper says, until it ends."""
        assert helper.stdout is not None
        began = before = time.monotonic()
        cpu = time.process_time()
        wanted = self.state["wanted"]
        with helper.stdout as lines:
            for line in lines:
                now, used = time.monotonic(), time.process_time()
                told = json.loads(line)
                span = max(told["seconds"], 0.001)
                self.state = {
                    "time": time.time(),
                    "state": "running" if told["open"] else "opening",
                    "open": told["open"],
                    "wanted": wanted,
                    "failed": told["failed"],
                    "rate": self.rate,
                    "deliveries_a_second": round(told["events"] / span),
                    "bytes_a_second": round(told["bytes"] / span),
                    "p50_ms": told["p50_ms"],
                    "p99_ms": told["p99_ms"],
                    "cpu_percent": round(100 * (used - cpu) / max(now - before, 0.001)),
                    "left_s": max(0, round(MAX_SECONDS - (now - began))),
                }
                before, cpu = now, used
                self._tell()
        ended.set()
        helper.wait()
        if helper.stdin is not None:
            helper.stdin.close()
        self.state = {"state": "stopped"}
        self._tell()

    def _tell(self) -> None:
        assert self._live is not None
        self._live.send("crowd", "crowd", self.state, key="crowd")
