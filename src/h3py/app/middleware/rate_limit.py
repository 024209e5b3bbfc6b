"""A rate limit for each client: so many requests in so much time, and a burst.

Theory. The token bucket, kept as one whole number a client: the time at which its bucket will
be full again (the "generic cell rate algorithm", ITU-T I.371). A request moves that time on by
one interval, and is refused where it would lie more than a full bucket ahead. Time is counted
in nanoseconds times the number of requests, so an interval is a whole number too: no rounding,
exact at the limit whenever one comes.

Rules. A client is an address: an IPv6 one by its /64, which is what one subscriber has. The
address is ``event.client``, which believes X-Forwarded-For from trusted proxies only; behind a
proxy that is not trusted, and on a Unix socket, all clients are one. The table is bounded: the
client that was quiet for longest is forgotten, which after ``burst`` intervals makes no
difference. Requests that are refused cost nothing but the look.

Owner: the middleware; any thread, under its lock, which is held for a look-up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

from h3py.app.checks import whole_number
from h3py.app.functions import describe, inline, needs_trio
from h3py.backends.proxies import network_of
from h3py.errors import ConfigError, HTTPError
from h3py.options import require_seconds

if TYPE_CHECKING:
    from h3py.app.event import H3Event

NANOSECONDS = 1_000_000_000
# A longer key is kept as its hash: what a client sends must not fill memory.
MAX_KEY_CHARACTERS = 64


class RateLimit:
    """Middleware that answers 429, with Retry-After, to clients that ask too often.

    ::

        app.use("/api", RateLimit(100, per_s=60))  # 100 a minute, and up to 100 at once

    Args:
        requests: How many requests ``per_s`` seconds allow in the long run, 1 or more.
        per_s: Seconds, above 0.
        burst: How many may come at once after a pause; by default ``requests``.
        key: What is limited, given the event: text, or None for no limit. It is called where
            the request is served and must not wait. By default the client's address.
        max_keys: Clients that are kept in mind; past it the one quiet for longest is forgotten.
        clock: Seconds, monotonic; for tests.

    Raises:
        ConfigError: A value that is not legal.
        TypeError: ``key`` cannot be called.
    """

    __slots__ = (
        "_clock", "_full_at", "_interval", "_key", "_lock", "_max_keys", "_requests", "_room",
    )  # fmt: skip

    def __init__(
        self,
        requests: int,
        per_s: float = 1.0,
        *,
        burst: int | None = None,
        key: Callable[[H3Event], str | None] | None = None,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        burst = requests if burst is None else burst
        for name, value in (("requests", requests), ("burst", burst), ("max_keys", max_keys)):
            if whole_number(f"RateLimit: {name}", value) < 1:
                raise ConfigError(f"RateLimit: {name} must be at least 1")
        require_seconds("RateLimit: per_s", per_s)
        if round(per_s * NANOSECONDS) < 1:
            raise ConfigError(f"RateLimit: per_s must be above 0, not {per_s!r}")
        if key is not None and needs_trio(key):
            raise ConfigError(f"RateLimit: key must be a plain function, not {describe(key)}")
        self._requests = requests
        self._interval = round(per_s * NANOSECONDS)
        self._room = self._interval * burst
        self._key = client_key if key is None else key
        self._max_keys = max_keys
        self._clock = clock
        self._lock = threading.Lock()
        # The least recently seen first.
        self._full_at: OrderedDict[str, int] = OrderedDict()

    @inline
    def __call__(self, event: H3Event) -> None:
        """Let the request pass, or answer 429."""
        key = self._key(event)
        if key is None:
            return
        wait_s = self.take(key)
        if wait_s > 0:
            # At least 1: a client told to come back in 0 seconds would come at once.
            after = str(max(1, math.ceil(wait_s)))
            raise HTTPError(429, "too many requests", headers={"retry-after": after})

    def take(self, key: str) -> float:
        """Count one request: 0.0 if it may pass, else in how many seconds the next one may."""
        if len(key) > MAX_KEY_CHARACTERS:
            key = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        now = round(self._clock() * NANOSECONDS) * self._requests
        with self._lock:
            table = self._full_at
            full_at = max(table.get(key, now), now) + self._interval
            behind = full_at - now - self._room
            if behind > 0:
                table.move_to_end(key)  # one that goes on asking is not forgotten
                return behind / (self._requests * NANOSECONDS)
            table[key] = full_at
            table.move_to_end(key)
            if len(table) > self._max_keys:
                table.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        """How many clients are kept in mind."""
        return len(self._full_at)


def client_key(event: H3Event) -> str:
    """What stands for a request's client: its IPv4 address, or the /64 of its IPv6 one."""
    client = event.client
    return "" if client is None else network_of(client[0])
