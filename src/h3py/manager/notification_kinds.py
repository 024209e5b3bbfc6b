"""The payloads of notifications: one struct per kind, checked when it is made.

What is not legal cannot be built: bounds stand in the annotations, and construction
holds to them (`TypeError` for a value of another type, `ValueError` for one out of
range, both naming the field). Built ones are frozen, and any thread may use them.

As JSON a notification is one object: ``kind``, what all kinds have (``id``, ``time``,
``severity``, ``message``), then the kind's own fields. Every field is always there,
null where nothing was said. Times are UTC, in ISO 8601 with a ``Z``. An address is
http, https or a path of the same site, so that a page may make a link of it.

No I/O here; docs/notifications.md is made of the same table, which a test compares.
"""

from __future__ import annotations

import math
import re
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field

Severity = Literal["info", "success", "warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Name = Annotated[str, Meta(min_length=1, max_length=128)]
"""An id or a name: 1 to 128 characters."""
Title = Annotated[str, Meta(max_length=300)]
Message = Annotated[str, Meta(max_length=2000)]
Names = Annotated[tuple[Name, ...], Meta(max_length=50)]
Moment = Annotated[datetime, Meta(tz=True)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0)]
# Browsers take a backslash for a slash and drop tabs and line ends, so "/\t/host" would leave
# the site.
Address = Annotated[
    str, Meta(max_length=2048, pattern=r"\A(https?://|/(?![/\\]))[^\s\x00-\x1f\x7f]*\Z")
]
Currency = Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]

# Digits enough for any currency; without a bound "1e999999" would be a megabyte of zeros somewhere.
MAX_AMOUNT_DIGITS = 30

Progress = Literal["queued", "running", "completed", "failed"]
_PROGRESS: dict[str, Severity] = {"completed": "success", "failed": "error"}


class Notification(Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What all kinds have; made as one of them."""

    severities: ClassVar[dict[str, Severity]] = {}
    """The severity that a status or action has by itself; any other is ``info``."""
    about: ClassVar[str | None] = None
    """For progress: the field that names what makes progress."""

    id: Name = field(default_factory=lambda: secrets.token_urlsafe(9))
    """Names this notification, for who stores or acknowledges it; random by default."""
    time: Moment = field(default_factory=lambda: datetime.now(UTC))
    """When it happened; now by default."""
    severity: Severity | None = None
    """By default what its status or action says."""
    message: Message = ""
    """For people; plain text."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        try:
            checked = msgspec.convert(given, _twin(type(self)))
        except msgspec.ValidationError as error:
            raise _named(error) from None
        for name in self.__struct_fields__:
            value = getattr(checked, name)
            if isinstance(value, datetime):
                value = _in_utc(name, value)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    _check_text(name, text)
            msgspec.structs.force_setattr(self, name, value)
        if self.severity is None:
            said = given.get("status") or given.get("action")
            default = self.severities.get(str(said), "info")
            msgspec.structs.force_setattr(self, "severity", default)

    @property
    def kind(self) -> str:
        """The name of the kind, as in the JSON."""
        return str(self.__struct_config__.tag)

    @property
    def key(self) -> str | None:
        """For progress: the same for all notifications of one task; else None."""
        return None if self.about is None else f"{self.kind}:{getattr(self, self.about)}"


class Payment(Notification, tag="payment", frozen=True, kw_only=True):
    """Money has moved, or has not."""

    severities: ClassVar[dict[str, Severity]] = {
        "succeeded": "success", "failed": "error", "disputed": "warning",
    }  # fmt: skip

    payment_id: Name
    status: Literal["pending", "succeeded", "failed", "refunded", "disputed"]
    amount: Decimal
    """Exact: in JSON a string such as ``"12.50"``, which no reader rounds."""
    currency: Currency
    """Three capital letters (ISO 4217)."""

    def __post_init__(self) -> None:
        given: object = self.amount
        if isinstance(given, float):
            raise TypeError("amount: a float is not exact: give a Decimal, an int or text")
        super().__post_init__()
        _, digits, exponent = self.amount.as_tuple()
        if not isinstance(exponent, int):
            raise ValueError(f"amount: {self.amount} is no amount")
        if len(digits) > MAX_AMOUNT_DIGITS or abs(exponent) > MAX_AMOUNT_DIGITS:
            raise ValueError(f"amount: more than {MAX_AMOUNT_DIGITS} digits")


class UserAccount(Notification, tag="user_account", frozen=True, kw_only=True):
    """Something about an account has changed."""

    severities: ClassVar[dict[str, Severity]] = {
        "password_changed": "warning", "email_changed": "warning", "locked": "warning",
        "deleted": "warning",
    }  # fmt: skip

    user_id: Name
    action: Literal[
        "created", "verified", "signed_in", "password_changed", "email_changed",
        "role_changed", "locked", "unlocked", "deleted",
    ]  # fmt: skip


class SystemHealth(Notification, tag="system_health", frozen=True, kw_only=True):
    """How a part of the system is."""

    severities: ClassVar[dict[str, Severity]] = {
        "ok": "success", "degraded": "warning", "down": "critical",
    }  # fmt: skip

    component: Name
    status: Literal["ok", "degraded", "down"]
    metrics: Annotated[dict[Name, float], Meta(max_length=50)] = {}
    """Figures by name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self.metrics.items():
            _check_text("metrics", name)
            if not math.isfinite(value):
                raise ValueError(f"metrics: {name!r} is {value}, which JSON cannot say")


class Maintenance(Notification, tag="maintenance", frozen=True, kw_only=True):
    """Work on the system, announced or under way."""

    severities: ClassVar[dict[str, Severity]] = {"started": "warning", "finished": "success"}

    status: Literal["scheduled", "started", "finished", "cancelled"]
    starts_at: Moment
    ends_at: Moment | None = None
    components: Names = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ends_at is not None and self.ends_at < self.starts_at:
            raise ValueError("ends_at: before starts_at")


class VideoProcessing(Notification, tag="video_processing", frozen=True, kw_only=True):
    """How far a video is. Progress: a slow reader may get only the newest."""

    severities: ClassVar[dict[str, Severity]] = _PROGRESS
    about: ClassVar[str | None] = "video_id"

    video_id: Name
    status: Progress
    percent: Percent | None = None
    step: Title = ""
    """What is being done: transcoding, thumbnails, ..."""
    url: Address | None = None


class DataExport(Notification, tag="data_export", frozen=True, kw_only=True):
    """How far an export is. Progress: a slow reader may get only the newest."""

    severities: ClassVar[dict[str, Severity]] = _PROGRESS
    about: ClassVar[str | None] = "export_id"

    export_id: Name
    status: Progress
    percent: Percent | None = None
    format: Title = ""
    rows: Count | None = None
    url: Address | None = None
    expires_at: Moment | None = None
    """Until when ``url`` can be fetched."""


class PostUpdate(Notification, tag="post_update", frozen=True, kw_only=True):
    """Something has happened to a post."""

    post_id: Name
    action: Literal["published", "edited", "deleted", "commented", "liked", "shared"]
    author_id: Name | None = None
    title: Title = ""
    url: Address | None = None


class ProfileUpdate(Notification, tag="profile_update", frozen=True, kw_only=True):
    """A profile has changed. It names what changed, not what to: that is to be fetched."""

    user_id: Name
    changed: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=50)]


class UserActivity(Notification, tag="user_activity", frozen=True, kw_only=True):
    """A user has done something."""

    user_id: Name
    action: Name
    """A word of the application's: ``joined``, ``uploaded``, ``is typing``, ..."""
    object_id: Name | None = None
    """What it was done to."""


AnyKind = (
    Payment
    | UserAccount
    | SystemHealth
    | Maintenance
    | VideoProcessing
    | DataExport
    | PostUpdate
    | ProfileUpdate
    | UserActivity
)
KINDS: dict[str, type[Notification]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(AnyKind)
}

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyKind)


def decode(raw: bytes | str) -> Notification:
    """A notification from its JSON, such as the body of a webhook; what is said is believed.

    Raises:
        ValueError: Not JSON, no such kind, or a field that is wrong; it names the field.
    """
    try:
        found: Notification = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise ValueError(str(_named(error))) from None
    return found


def encode(notification: Notification) -> bytes:
    """A notification as JSON, in UTF-8."""
    return msgspec.json.encode(notification)


@cache
def _twin(kind: type[Notification]) -> Any:
    """A struct with the same fields, none of them with a default, that nothing hangs on."""
    return msgspec.defstruct(
        kind.__name__, [(item.name, item.type) for item in msgspec.structs.fields(kind)]
    )


def _in_utc(name: str, value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name}: outside of the calendar in UTC") from None


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: half of a surrogate pair is no text") from None


def _named(error: msgspec.ValidationError) -> ValueError | TypeError:
    """What msgspec says, as ``field: what is wrong with it``."""
    said = str(error)
    found = re.fullmatch(r"(.*) - at `(?:key in )?\$\.?(.*?)`", said)
    if found and found[2]:
        said = f"{found[2]}: {found[1][:1].lower()}{found[1][1:]}"
    return TypeError(said) if ", got `" in said else ValueError(said)
