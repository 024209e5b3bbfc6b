"""What can be seen of a connection from outside."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from h3py.manager.subscription import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """One stream of a manager, at one moment. Times are seconds since the epoch."""

    client_id: str
    user_id: str | None
    name: str | None
    """``metadata["name"]``, if it has one."""
    channels: tuple[str, ...]
    metadata: Mapping[str, Any]
    connected_at: float
    last_activity_at: float
    """When something was last sent, or the client last pinged."""
    state: str
    """``switching`` (has just begun), ``live``, ``lagging`` or ``paging``."""
    policy: str
    events: int
    """Events that were put into its queue."""
    sent_bytes: int
    queued_bytes: int
    dropped: int
    """Events that its policy dropped."""


def channels_among(groups: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The channels among the groups that ``Engine.info`` gives."""
    return tuple(name for kind, name in groups if kind == "channel")


def describe(subscription: Subscription) -> ConnectionInfo | None:
    """A subscription as it is now; None once its stream is ending."""
    found = subscription.engine.info(subscription._stream.handle) if subscription.present else None
    if found is None or found["state"] == "closing":
        return None
    metadata = subscription.metadata or {}
    return ConnectionInfo(
        client_id=subscription.client_id,
        user_id=subscription.user_id,
        name=metadata.get("name"),
        channels=channels_among(found["groups"]),
        metadata=metadata,
        connected_at=subscription.connected_at,
        last_activity_at=time.time() - found["idle_s"],
        state=found["state"],
        policy=found["policy"],
        events=found["events"],
        sent_bytes=found["sent_bytes"],
        queued_bytes=found["queued_bytes"],
        dropped=found["dropped"],
    )
