"""Notifications that come in through a webhook, and go out to every window.

``POST /webhooks/notify`` takes a notification as JSON (`h3py.manager.notification_kinds`)
with a signature in ``X-Signature``, and publishes it. The page has no secret: it asks
``POST /live/sign`` for a body of its choice, signed, and posts that; so does the curl
line that it shows. Where a real sender would be another server, which has the secret,
the demo gives out signatures to whoever may open its page.

``POST /live/export`` begins a piece of work that tells of its progress.

Threads: handlers in workers; a piece of work in a thread of its own, one at a time.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Struct

from h3py import H3, H3Event, HTTPError, Notifications
from h3py.demo.live import Live
from h3py.manager.notification_kinds import (
    Maintenance,
    Notification,
    Payment,
    PostUpdate,
    ProfileUpdate,
    SystemHealth,
    UserAccount,
    UserActivity,
    VideoProcessing,
    decode,
    encode,
)
from h3py.manager.webhooks import sign, verify_signature

CHANNEL = "notifications"
MAX_BODY = 4096
EXPORT_STEPS = 25
EXPORT_STEP_S = 0.12


class Asking(Struct, forbid_unknown_fields=True):
    """Which of the samples, and what it says."""

    sample: str
    message: Annotated[str, Meta(max_length=200)] = ""


SAMPLES: dict[str, Callable[[str], Notification]] = {
    "payment": lambda said: Payment(
        payment_id="p-1024", status="succeeded", amount=Decimal("42.00"), currency="EUR",
        message=said or "Thank you: 42.00 EUR from Ada.",
    ),
    "payment_failed": lambda said: Payment(
        payment_id="p-1025", status="failed", amount=Decimal("9.90"), currency="EUR",
        message=said or "The card was declined.",
    ),
    "user_account": lambda said: UserAccount(
        user_id="ada", action="password_changed", message=said or "Your password was changed.",
    ),
    "system_health": lambda said: SystemHealth(
        component="database", status="down", metrics={"lag_s": 12.5},
        message=said or "The database does not answer.",
    ),
    "maintenance": lambda said: Maintenance(
        status="scheduled", starts_at=datetime.now(UTC) + timedelta(hours=1),
        components=("exports",), message=said or "Exports pause for ten minutes, in an hour.",
    ),
    "video_processing": lambda said: VideoProcessing(
        video_id="v-7", status="running", percent=64, step="thumbnails",
        message=said or "Thumbnails are being made.",
    ),
    "post_update": lambda said: PostUpdate(
        post_id="77", action="commented", author_id="grace", title="On events",
        message=said or "Grace has commented on “On events”.",
    ),
    "profile_update": lambda said: ProfileUpdate(
        user_id="ada", changed=("name", "photo"), message=said or "Ada has a new photo.",
    ),
    "user_activity": lambda said: UserActivity(
        user_id="grace", action="joined", object_id="lobby",
        message=said or "Grace has joined the lobby.",
    ),
}  # fmt: skip


def add_hooks(app: H3, live: Live) -> dict[str, list[Callable[..., Any]]]:
    """Add the webhook and what the page needs; gives the functions that the page shows."""
    notifications = Notifications(live.manager)
    secret = secrets.token_hex(32)
    working = threading.Lock()
    stopped = threading.Event()

    @app.post("/webhooks/notify")
    def webhook(event: H3Event) -> dict[str, int]:
        if len(event.body) > MAX_BODY:
            raise HTTPError(413)
        try:
            verify_signature(event.headers.get("x-signature"), event.body, secret)
        except ValueError:
            raise HTTPError(401, "not signed, or too long ago") from None
        try:
            notification = decode(event.body)
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        return {"streams": notifications.send(notification, "channel", CHANNEL)}

    @app.post("/live/sign")
    def sign_sample(event: H3Event) -> dict[str, str]:
        asked = event.read_json(Asking)
        if asked.sample not in SAMPLES:
            raise HTTPError(400, f"sample: one of {', '.join(SAMPLES)}")
        body = encode(SAMPLES[asked.sample](asked.message.strip()))
        # So that it stands between single quotes of a shell.
        body = body.replace(b"'", b"\\u0027")
        return {"body": body.decode(), "signature": sign(body, secret)}

    @app.post("/live/export")
    def export(event: H3Event) -> None:
        if not working.acquire(blocking=False):
            raise HTTPError(409, "an export is being made")
        threading.Thread(target=work, name="demo export", daemon=True).start()

    def work() -> None:
        task = f"e-{secrets.token_hex(3)}"
        try:
            for step in range(EXPORT_STEPS + 1):
                done = step == EXPORT_STEPS
                notifications.data_export(
                    "channel", CHANNEL, export_id=task, format="csv",
                    status="completed" if done else "running",
                    percent=100 * step / EXPORT_STEPS, rows=48 * step,
                    message="Your export is ready." if done else "Your export is being made.",
                )  # fmt: skip
                if stopped.wait(EXPORT_STEP_S):
                    return
        finally:
            working.release()

    app.on_stop(stopped.set)
    return {"notifications": [webhook]}
