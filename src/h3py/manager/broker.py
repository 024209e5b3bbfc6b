"""Brokers: where published events go, and what is kept of them.

A broker hands each event to the engine of its node. ``MemoryBroker`` does that at
once, and the engine's log is its history. A broker has no thread of its own here;
its owner is the hub that it was given to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from h3py.errors import ConfigError
from h3py.options import MIB, require_integer, require_seconds

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py._speedups.format import SSEEvent

# What the engine's log can number.
MAX_EVENTS = 2**30

# Without history the log is only what publishers and pumps have between them.
_INBOX_EVENTS = 10_000
_INBOX_BYTES = 64 * MIB


class Broker(Protocol):
    """What a manager asks of a broker."""

    @property
    def history(self) -> bool:
        """Whether events are kept for those who come back, and carry ids."""

    @property
    def one_process(self) -> bool:
        """Whether every client that can be addressed is connected to this process."""

    @property
    def engine_options(self) -> dict[str, Any]:
        """How the engine keeps its log."""

    def publish(
        self,
        engine: Engine,
        event: SSEEvent,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        clients: Iterable[str] = (),
        everyone: bool = False,
        key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version: int = 0,
    ) -> int | None:
        """Publish one event.

        Returns:
            How many streams of this node it goes to. None: nothing was published, because the
            metadata has not what ``Engine.require`` has asked for since.
        """


@dataclass(frozen=True, kw_only=True)
class MemoryBroker:
    """History in this process's memory, for one process.

    The oldest events go when any of the three bounds is reached.

    Args:
        max_events: Events that are kept, at most 2**30; 0: no history, so no ids, no replay
            and no ``h3py:reset``, and an event may have an id of its own.
        max_bytes: Bytes of them.
        max_age_s: Seconds that they are kept.

    Raises:
        ConfigError: A value out of range.
    """

    max_events: int = 10_000
    max_bytes: int = 64 * MIB
    max_age_s: float = 3600.0

    def __post_init__(self) -> None:
        require_integer("max_events", self.max_events, minimum=0)
        if self.max_events > MAX_EVENTS:
            raise ConfigError(f"max_events must be at most {MAX_EVENTS}, not {self.max_events}")
        require_integer("max_bytes", self.max_bytes, minimum=1)
        require_seconds("max_age_s", self.max_age_s)
        if not self.max_age_s:
            raise ConfigError("max_age_s must be above 0; max_events=0 is for no history")

    @property
    def history(self) -> bool:
        """Whether events are kept for those who come back, and carry ids."""
        return self.max_events > 0

    @property
    def one_process(self) -> bool:
        """Nobody else hears of what is published here."""
        return True

    @property
    def engine_options(self) -> dict[str, Any]:
        """How the engine keeps its log."""
        if not self.history:
            return {"log_events": _INBOX_EVENTS, "log_bytes": _INBOX_BYTES}
        return {
            "log_events": self.max_events,
            "log_bytes": self.max_bytes,
            "log_age_s": self.max_age_s,
        }

    def publish(
        self,
        engine: Engine,
        event: SSEEvent,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        clients: Iterable[str] = (),
        everyone: bool = False,
        key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version: int = 0,
    ) -> int | None:
        """Publish one event; how many streams it goes to."""
        # By place: what is given by name costs as much as the rest of the call.
        taken = engine.publish(
            event, users, channels, clients, everyone, key, metadata, self.max_events > 0, version
        )
        return None if taken is None else taken[1]
