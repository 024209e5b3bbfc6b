"""``Notifications``: what an application tells its users, with a type for each kind.

A helper per kind builds the payload (`h3py.manager.notification_kinds`), which is
checked there, and publishes it through a manager:

    event      ``notification:<kind>``, so that a page handles each kind by its name
    data       the payload as JSON
    key        for progress: ``<kind>:<id of the task>``, so that a stream with the
               policy ``keep_latest`` that is behind gets only the newest
    metadata   ``kind`` and ``severity``, for ``where={"severity": ["error", "critical"]}``,
               and what the caller adds

It has no state and waits for nothing: any thread or task may call it. Its owner is
the application; it needs no closing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, get_args

from h3py._speedups.format import SSEEvent
from h3py.manager import notification_kinds as kinds
from h3py.manager.notification_kinds import Notification, Severity
from h3py.manager.publisher import Publisher

Target = Literal["client", "user", "channel", "broadcast"]
TARGETS: tuple[Target, ...] = get_args(Target)
TargetId = str | Iterable[str] | None
"""A name, or several users or channels; None for a broadcast."""

EVENT_PREFIX = "notification:"


class Common(TypedDict, total=False):
    """What every helper takes besides the fields of its kind."""

    id: str
    """Names the notification; random by default."""
    time: datetime
    """When it happened, with a time zone; now by default."""
    severity: Severity
    """By default what the status or action says."""
    message: str
    """For people; at most 2,000 characters."""


class Delivery(NamedTuple):
    """One notification and where it goes, for `Notifications.send_many`."""

    notification: Notification
    target: Target
    target_id: TargetId = None
    metadata: Mapping[str, Any] | None = None


class Notifications:
    """Typed notifications over a manager.

    Every helper takes ``target`` and ``target_id``, then the fields of its kind by name,
    and those of `Common`. ``target_id`` names one client, user or channel, or several
    users or channels (a list: still one event, and a stream gets it once); a broadcast has
    none. Each returns to how many streams of this process it went.

    Args:
        manager: Where they go.

    Every helper raises:
        TypeError: A value of the wrong type.
        ValueError: A value out of range, an unknown target, a target without its id. Both
            name the field, and nothing was sent.
        BackpressureDetected, ManagerClosed: As ``SSEManager.broadcast``.
    """

    def __init__(self, manager: Publisher) -> None:
        if not isinstance(manager, Publisher):
            raise TypeError(f"manager must be an SSEManager, not {type(manager).__name__}")
        self._manager = manager

    def payment(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        payment_id: str,
        status: Literal["pending", "succeeded", "failed", "refunded", "disputed"],
        amount: Decimal | int | str,
        currency: str,
        **common: Unpack[Common],
    ) -> int:
        """A payment has succeeded, failed, ...; ``amount`` is exact, so no float."""
        return self.send(
            kinds.Payment(
                payment_id=payment_id, status=status, amount=_exact(amount), currency=currency,
                **common,
            ),
            target, target_id,
        )  # fmt: skip

    def user_account(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        user_id: str,
        action: Literal[
            "created", "verified", "signed_in", "password_changed", "email_changed",
            "role_changed", "locked", "unlocked", "deleted",
        ],
        **common: Unpack[Common],
    ) -> int:  # fmt: skip
        """Something about an account has changed."""
        return self.send(
            kinds.UserAccount(user_id=user_id, action=action, **common), target, target_id
        )

    def system_health(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        component: str,
        status: Literal["ok", "degraded", "down"],
        metrics: Mapping[str, float] | None = None,
        **common: Unpack[Common],
    ) -> int:
        """How a part of the system is, with figures by name."""
        return self.send(
            kinds.SystemHealth(
                component=component, status=status, metrics=dict(metrics or {}), **common
            ),
            target, target_id,
        )  # fmt: skip

    def maintenance(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        status: Literal["scheduled", "started", "finished", "cancelled"],
        starts_at: datetime,
        ends_at: datetime | None = None,
        components: Iterable[str] = (),
        **common: Unpack[Common],
    ) -> int:
        """Work on the system, announced or under way; times with their time zone."""
        return self.send(
            kinds.Maintenance(
                status=status, starts_at=starts_at, ends_at=ends_at,
                components=_names("components", components), **common,
            ),
            target, target_id,
        )  # fmt: skip

    def video_processing(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        video_id: str,
        status: kinds.Progress,
        percent: float | None = None,
        step: str = "",
        url: str | None = None,
        **common: Unpack[Common],
    ) -> int:
        """How far a video is, 0 to 100; progress: ``keep_latest`` streams see the newest."""
        return self.send(
            kinds.VideoProcessing(
                video_id=video_id, status=status, percent=percent, step=step, url=url, **common
            ),
            target, target_id,
        )  # fmt: skip

    def data_export(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        export_id: str,
        status: kinds.Progress,
        percent: float | None = None,
        format: str = "",
        rows: int | None = None,
        url: str | None = None,
        expires_at: datetime | None = None,
        **common: Unpack[Common],
    ) -> int:
        """How far an export is, 0 to 100; progress: ``keep_latest`` streams see the newest."""
        return self.send(
            kinds.DataExport(
                export_id=export_id, status=status, percent=percent, format=format, rows=rows,
                url=url, expires_at=expires_at, **common,
            ),
            target, target_id,
        )  # fmt: skip

    def post_update(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        post_id: str,
        action: Literal["published", "edited", "deleted", "commented", "liked", "shared"],
        author_id: str | None = None,
        title: str = "",
        url: str | None = None,
        **common: Unpack[Common],
    ) -> int:
        """Something has happened to a post."""
        return self.send(
            kinds.PostUpdate(
                post_id=post_id, action=action, author_id=author_id, title=title, url=url, **common
            ),
            target, target_id,
        )  # fmt: skip

    def profile_update(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        user_id: str,
        changed: Iterable[str],
        **common: Unpack[Common],
    ) -> int:
        """A profile has changed: in which fields."""
        return self.send(
            kinds.ProfileUpdate(user_id=user_id, changed=_names("changed", changed), **common),
            target, target_id,
        )  # fmt: skip

    def user_activity(
        self,
        target: Target,
        target_id: TargetId = None,
        *,
        user_id: str,
        action: str,
        object_id: str | None = None,
        **common: Unpack[Common],
    ) -> int:
        """A user has done something; ``action`` is a word of the application's."""
        return self.send(
            kinds.UserActivity(user_id=user_id, action=action, object_id=object_id, **common),
            target, target_id,
        )  # fmt: skip

    def send(
        self,
        notification: Notification,
        target: Target,
        target_id: TargetId = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send a notification that was made before, or has come as JSON (``decode``).

        Args:
            notification: One of `h3py.manager.notification_kinds`.
            target: Whom it is for.
            target_id: Their name; several users or channels; None for a broadcast.
            metadata: More for ``where`` to look at, besides ``kind`` and ``severity``.

        Returns:
            To how many streams of this process it went; each counts once.
        """
        (sent,) = self.send_many([Delivery(notification, target, target_id, metadata)])
        return sent

    def send_many(self, deliveries: Iterable[Delivery]) -> list[int]:
        """Send different notifications, in order; all are checked before the first leaves.

        Returns:
            To how many streams each went.

        Raises:
            BackpressureDetected: Publishers are ahead: those before it were sent, and a note
                on the error says how many.
        """
        ready = [self._checked(Delivery(*delivery)) for delivery in deliveries]
        sent: list[int] = []
        for delivery in ready:
            try:
                sent.append(self._publish(delivery))
            except Exception as error:
                error.add_note(f"{len(sent)} of {len(ready)} notifications had been sent")
                raise
        return sent

    def _checked(self, delivery: Delivery) -> Delivery:
        """A delivery with its names in a tuple and all of its metadata."""
        notification, target, target_id, added = delivery
        if not isinstance(notification, Notification):
            raise TypeError(f"notification: a {type(notification).__name__} is none")
        if target not in TARGETS:
            raise ValueError(f"target: must be one of {', '.join(TARGETS)}, not {target!r}")
        if target == "broadcast":
            if target_id is not None:
                raise ValueError("target_id: a broadcast has none")
        else:
            if target_id is None:
                raise ValueError(f"target_id: which {target}?")
            if not isinstance(target_id, str):
                if target == "client":
                    raise TypeError("target_id: one client at a time; several users or channels")
                target_id = _names("target_id", target_id)
        metadata = {"kind": notification.kind, "severity": notification.severity}
        if both := metadata.keys() & (added or {}).keys():
            raise ValueError(f"metadata: {', '.join(sorted(both))} is the notification's own")
        return Delivery(notification, target, target_id, {**metadata, **(added or {})})

    def _publish(self, delivery: Delivery) -> int:
        notification, target, target_id, metadata = delivery
        event = SSEEvent(kinds.encode(notification), EVENT_PREFIX + notification.kind)
        manager, key = self._manager, notification.key
        if target == "broadcast":
            return manager.broadcast(event, key=key, metadata=metadata)
        if isinstance(target_id, str):
            if target == "client":
                return int(manager.send_to_client(target_id, event, key=key, metadata=metadata))
            target_id = (target_id,)
        assert target_id is not None
        if target == "user":
            return manager.send_to_users(target_id, event, key=key, metadata=metadata)
        return manager.send_to_channels(target_id, event, key=key, metadata=metadata)


def _exact(amount: object) -> Decimal:
    """An amount of money; a float is left as it is, for the payload to refuse by name."""
    if isinstance(amount, str):
        try:
            return Decimal(amount)
        except InvalidOperation:
            raise ValueError(f"amount: {amount!r} is no decimal number") from None
    if isinstance(amount, int) and not isinstance(amount, bool):
        return Decimal(amount)
    return amount  # type: ignore[return-value]  # checked, and named, by the payload


def _names(name: str, given: Iterable[str]) -> tuple[str, ...]:
    """Several names; one text is not several of one letter."""
    if isinstance(given, str | bytes):
        raise TypeError(f"{name}: give a list of names, not one {type(given).__name__}")
    return tuple(given)
