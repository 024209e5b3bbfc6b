"""Options of serving: every limit and time of the server, its default, and what is legal.

Frozen and checked when built, trusted afterwards. Times are seconds and end in
``_s``, sizes are bytes and end in ``_bytes``. ``None`` switches a limit off
where that is allowed; each field says so.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from h3py._speedups.format import SSEEvent, format_event
from h3py.errors import ConfigError

KIB = 1024
MIB = 1024 * 1024

Backend = Literal["trio", "threads"]
BACKENDS: tuple[Backend, ...] = ("trio", "threads")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one HTTP request may cost. Past a limit: the status in parentheses, and a close."""

    request_line_bytes: int = 8 * KIB
    """Request line: method, target and version (414)."""
    header_count: int = 100
    """Header fields, trailers included (431)."""
    header_bytes: int = 32 * KIB
    """The header section as it is on the wire, line ends included (431)."""
    body_bytes: int = MIB
    """Request body after de-chunking (413)."""

    def __post_init__(self) -> None:
        for name in ("request_line_bytes", "header_count", "header_bytes", "body_bytes"):
            require_integer(name, getattr(self, name), minimum=0 if name == "body_bytes" else 1)


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How an application is served. Every field is a keyword of ``serve``."""

    # Where.
    backend: Backend = "trio"
    """``"trio"`` (one event loop) or ``"threads"`` (blocking sockets)."""
    host: str = "127.0.0.1"
    """Address, or a name that stands for one or more; ``"0.0.0.0"`` is every IPv4 address."""
    port: int = 3000
    """0 lets the system choose; ``Server.addresses`` tells what it chose."""
    unix_path: str | Path | None = None
    """Serve on this Unix socket instead of ``host`` and ``port``."""
    fd: int | None = None
    """Serve on this inherited, listening descriptor instead."""
    backlog: int = 1024
    """Connections the kernel holds before they are accepted."""
    certificate: str | Path | None = None
    """PEM file with the certificate chain: serve TLS."""
    private_key: str | Path | None = None
    """PEM file with its key; by default it is looked for in ``certificate``."""
    ssl_context: ssl.SSLContext | None = None
    """A ready server-side context, instead of ``certificate``."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (``"10.0.0.0/8"``) whose X-Forwarded-For and X-Forwarded-Proto are believed;
    ``"unix"`` stands for peers on a Unix socket. None by default."""

    # What a request may cost.
    limits: Limits = field(default_factory=Limits)
    """Sizes of a request's parts."""
    header_timeout_s: float = 10.0
    """From the first byte of a request to the end of its head (408), and for a TLS handshake."""
    body_timeout_s: float = 30.0
    """From the end of the head to the end of the body (408)."""
    keep_alive_timeout_s: float = 75.0
    """Silence between requests (close)."""
    write_timeout_s: float = 30.0
    """How long a plain response, or a blocking write, waits for a client that takes nothing."""
    max_connections: int | None = None
    """Connections in all (503); by default 90 % of the descriptor limit."""
    max_streams: int | None = None
    """Streams in all (503); by default the same."""
    max_streams_per_address: int | None = None
    """Streams of one client's address, of IPv6 of its /64 network (429); behind a trusted proxy
    of what the proxy names. Clients without one, on a Unix socket, are not limited. None: no
    limit."""
    retry_after_s: int = 5
    """What the Retry-After header of a 503 or 429 says."""
    workers: int = 64
    """Threads that run plain (``def``) handlers."""
    worker_wait_s: float = 5.0
    """How long a request waits for one of them (503)."""
    max_sync_streams: int = 1000
    """Streams that hold a thread: ``def`` handlers and callbacks that go on writing (503)."""

    # Streams.
    buffer_bytes: int = 8 * KIB
    """Small writes are gathered up to this size."""
    reference_over_bytes: int = 4 * KIB
    """Chunks larger than this are queued by reference, not copied."""
    max_queue_bytes: int = 64 * KIB
    """Unsent bytes per stream; a single larger event is accepted into an empty queue."""
    max_event_bytes: int = 16 * MIB
    """One event (``EventTooLarge``)."""
    notsent_lowat_bytes: int | None = 64 * KIB
    """TCP_NOTSENT_LOWAT of accepted sockets; None leaves the system's."""
    heartbeat_s: float | None = 30.0
    """A comment on streams idle this long; None: none."""
    heartbeat_misses: int = 3
    """Heartbeats without any acknowledgement before a peer counts as dead (``timeout``)."""
    slow_write_s: float = 0.1
    """A queue not drained for this long is a slow client: counted, warned of once per episode."""
    stall_timeout_s: float | None = 60.0
    """A stream whose socket takes nothing for this long is closed (``slow``); None: never."""
    linger_s: float = 2.0
    """How long what is queued is still sent after the client's FIN, and input read after ours."""
    half_close: Literal["close", "allow"] = "close"
    """``"allow"`` goes on serving a client that has shut down its sending side."""
    max_discard_bytes: int = 64 * KIB
    """Bytes a client may send during a stream; they are discarded; past it: ``limit``."""
    cleanup_timeout_s: float = 5.0
    """How long a generator's clean-up may take after its stream has ended."""
    retry_ms: int | None = 3000
    """``retry`` sent at the start of a stream, with 20 % jitter; None: none."""
    pumps: int = 1
    """Threads of the engine that send to parked streams."""
    max_memory_bytes: int = 256 * MIB
    """All memory of the engine (victims close with ``limit``)."""
    log_events: int = 10_000
    """Events the engine's log keeps for streams that are behind; the oldest go."""
    log_bytes: int = 64 * MIB
    """The same, by size."""
    log_age_s: float = 3600.0
    """The same, by age."""

    # The process.
    drain_timeout_s: float = 10.0
    """How long shutdown waits for requests and streams to end."""
    drain_window_s: float = 0.0
    """Shutdown spreads the ends of streams over this time, below ``drain_timeout_s``; 0: at
    once."""
    farewell: SSEEvent | None = None
    """An event that every open stream gets last when the server stops, before its clean end."""
    farewell_retry_ms: int | None = None
    """``retry`` sent at a stream's end by shutdown, with 20 % jitter and the window on top;
    None: as ``retry_ms``."""
    handle_signals: bool = True
    """SIGTERM and SIGINT begin a graceful shutdown (main thread only)."""
    debug: bool = False
    """Show exceptions to the client."""
    clock: Callable[[], float] | None = None
    """Seconds, monotonic; for tests. None: the system's."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"unknown backend {self.backend!r}: use 'trio' or 'threads'")
        if not 0 <= _integer("port", self.port) <= 65535:
            raise ConfigError(f"port must be 0 to 65535, not {self.port}")
        if self.unix_path is not None and self.fd is not None:
            raise ConfigError("give unix_path or fd, not both")
        if self.ssl_context is not None and self.certificate is not None:
            raise ConfigError("give ssl_context or certificate, not both")
        if self.private_key is not None and self.certificate is None:
            raise ConfigError("private_key needs certificate")
        if self.half_close not in ("close", "allow"):
            raise ConfigError(f"half_close must be 'close' or 'allow', not {self.half_close!r}")
        if not isinstance(self.limits, Limits):
            raise ConfigError(f"limits must be a Limits, not {type(self.limits).__name__}")
        _require_networks(self.trusted_proxies)
        for name in _POSITIVE:
            require_integer(name, getattr(self, name), minimum=1)
        for name in _POSITIVE_OR_NONE:
            if getattr(self, name) is not None:
                require_integer(name, getattr(self, name), minimum=1)
        for name in _SECONDS:
            require_seconds(name, getattr(self, name))
        for name in _SECONDS_OR_NONE:
            if getattr(self, name) is not None:
                require_seconds(name, getattr(self, name))
        self._check_farewell()

    def _check_farewell(self) -> None:
        if self.drain_window_s and self.drain_window_s >= self.drain_timeout_s:
            raise ConfigError(
                f"drain_window_s must be below drain_timeout_s ({self.drain_timeout_s:g}), "
                f"not {self.drain_window_s:g}: the last would have no time left to end"
            )
        if self.farewell is None:
            return
        if not isinstance(self.farewell, SSEEvent):
            raise ConfigError(f"farewell must be an SSEEvent, not {type(self.farewell).__name__}")
        if self.farewell.retry is not None:
            raise ConfigError("farewell has a retry of its own: use farewell_retry_ms")
        if len(format_event(self.farewell)) > self.max_event_bytes:
            raise ConfigError("farewell is larger than max_event_bytes")

    @classmethod
    def build(cls, options: ServeOptions | None, changes: dict[str, Any]) -> ServeOptions:
        """Options given as an object, as keywords, or both (the keywords win).

        Raises:
            ConfigError: A keyword that is no option, or a value that is not legal.
        """
        require_known(cls, changes)
        base = options if options is not None else cls()
        values = {item.name: getattr(base, item.name) for item in fields(cls)}
        return cls(**(values | changes))


_POSITIVE = (
    "backlog", "workers", "max_sync_streams", "buffer_bytes", "reference_over_bytes",
    "max_queue_bytes", "max_event_bytes", "heartbeat_misses", "pumps", "max_memory_bytes",
    "log_events", "log_bytes", "retry_after_s", "max_discard_bytes",
)  # fmt: skip
_POSITIVE_OR_NONE = (
    "max_connections", "max_streams", "max_streams_per_address", "notsent_lowat_bytes",
    "retry_ms", "farewell_retry_ms",
)  # fmt: skip
_SECONDS = (
    "header_timeout_s", "body_timeout_s", "keep_alive_timeout_s", "write_timeout_s",
    "worker_wait_s", "slow_write_s", "linger_s", "cleanup_timeout_s", "log_age_s",
    "drain_timeout_s", "drain_window_s",
)  # fmt: skip
_SECONDS_OR_NONE = ("heartbeat_s", "stall_timeout_s")


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be an integer, not {value!r}")
    return value


def engine_options(options: Any) -> dict[str, Any]:
    """What servers and managers, each by options of the same names, tell their engines."""
    names = (
        "pumps",
        "max_queue_bytes",
        "max_memory_bytes",
        "heartbeat_s",
        "heartbeat_misses",
        "stall_timeout_s",
        "slow_write_s",
        "linger_s",
        "max_discard_bytes",
        "half_close",
    )
    # A clock in a test's hand moves the pumps, too.
    clock = getattr(options.clock, "engine_clock", None)
    return {name: getattr(options, name) for name in names} | {"clock": clock}


def require_known(cls: type[Any], changes: dict[str, Any]) -> None:
    known = {item.name for item in fields(cls)}
    for name in changes:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}")


def require_integer(name: str, value: object, *, minimum: int) -> None:
    if _integer(name, value) < minimum:
        raise ConfigError(f"{name} must be at least {minimum}, not {value}")


def _require_networks(value: object) -> None:
    if not isinstance(value, tuple):
        raise ConfigError(f"trusted_proxies must be a tuple of networks, not {value!r}")
    for item in value:
        try:
            if item != "unix":
                ipaddress.ip_network(item)
        except ValueError as error:
            raise ConfigError(f"trusted_proxies: {item!r} is not a network: {error}") from error


def require_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 <= value < 1e9:  # also refuses NaN
        raise ConfigError(f"{name} must be 0 or more seconds, not {value}")
