"""Options of a manager: every limit and time, its default, and what is legal.

Frozen and checked when built. Times are seconds and end in ``_s``, sizes are bytes
and end in ``_bytes``. ``None`` switches a limit off where that is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from h3py.errors import ConfigError
from h3py.options import KIB, MIB, require_integer, require_known, require_seconds

Policy = Literal["close", "catch_up", "drop_new", "drop_oldest", "keep_latest"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

# Times and sizes that the engine can count, and the threads it can have.
MAX_AGE_S = 4_000_000 - 1
MAX_QUEUE_BYTES = 2**31 - 1
MAX_PUMPS = 64


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """How a manager serves its streams. Every field is a keyword of ``SSEManager``."""

    policy: Policy | None = None
    """For a stream whose queue is full; None: ``"catch_up"`` where there is history, else
    ``"close"``."""
    notices: bool = False
    """Tell clients how many events they missed (``h3py:dropped``)."""
    max_queue_bytes: int = 64 * KIB
    """Unsent bytes per stream; a single larger event is accepted into an empty queue."""
    max_memory_bytes: int = 256 * MIB
    """All memory of the engine: blocks, queues, history (victims close with ``limit``)."""
    pumps: int = 1
    """Threads that send."""

    max_streams_per_user: int | None = 100
    """Streams of one user (429); None: no limit."""
    max_channels: int = 100
    """Channels of one stream (400)."""
    max_name_bytes: int = 128
    """UTF-8 bytes of a channel, user id or client id (400)."""
    retry_after_s: int = 5
    """What the Retry-After header of a 429 says."""

    heartbeat_s: float | None = 30.0
    """A comment on streams idle this long; None: none, and no search for dead peers."""
    heartbeat_misses: int = 3
    """Heartbeats without any acknowledgement before a peer counts as dead (``timeout``)."""
    heartbeat_ids: bool = False
    """Heartbeats carry the newest id, without data, so that a quiet client's position moves."""
    lease_s: float | None = None
    """A stream without a client's ping for this long ends (``lease_expired``); None: no lease."""
    max_age_s: float | None = None
    """Streams end at 80 to 100 % of this age (``max_age``), each at its own time; None: never."""
    stall_timeout_s: float | None = 60.0
    """A stream whose socket takes nothing for this long is closed (``slow``); None: never."""
    slow_write_s: float = 0.1
    """A queue not drained for this long is a slow client: counted, warned of once per episode."""
    linger_s: float = 2.0
    """How long the end of a stream may take."""
    max_discard_bytes: int = 64 * KIB
    """Bytes a client may send during a stream; they are discarded; past it: ``limit``."""
    half_close: Literal["close", "allow"] = "close"
    """``"allow"`` goes on serving a client that has shut down its sending side."""
    clock: Callable[[], float] | None = None
    """Seconds, monotonic; for tests. None: the system's."""

    def __post_init__(self) -> None:
        if self.policy is not None and self.policy not in POLICIES:
            raise ConfigError(f"policy must be one of {', '.join(POLICIES)}, not {self.policy!r}")
        if self.half_close not in ("close", "allow"):
            raise ConfigError(f"half_close must be 'close' or 'allow', not {self.half_close!r}")
        for name in _POSITIVE:
            require_integer(name, getattr(self, name), minimum=1)
        for name, most in (("max_queue_bytes", MAX_QUEUE_BYTES), ("pumps", MAX_PUMPS)):
            if getattr(self, name) > most:
                raise ConfigError(f"{name} must be at most {most}, not {getattr(self, name)}")
        if self.max_streams_per_user is not None:
            require_integer("max_streams_per_user", self.max_streams_per_user, minimum=1)
        for name in ("slow_write_s", "linger_s"):
            _require_time(name, getattr(self, name))
        for name in ("heartbeat_s", "lease_s", "max_age_s", "stall_timeout_s"):
            if getattr(self, name) is not None:
                _require_time(name, getattr(self, name))
                if not getattr(self, name):
                    raise ConfigError(f"{name} must be above 0; None is for none")

    @classmethod
    def build(cls, changes: dict[str, Any]) -> ManagerOptions:
        """Options given as keywords.

        Raises:
            ConfigError: A keyword that is no option, or a value that is not legal.
        """
        require_known(cls, changes)
        return cls(**changes)


_POSITIVE = (
    "max_queue_bytes", "max_memory_bytes", "pumps", "max_channels", "max_name_bytes",
    "retry_after_s", "heartbeat_misses", "max_discard_bytes",
)  # fmt: skip


def _require_time(name: str, value: object) -> None:
    require_seconds(name, value)
    assert isinstance(value, int | float)
    if value > MAX_AGE_S:
        raise ConfigError(f"{name} must be at most {MAX_AGE_S} seconds, not {value}")
