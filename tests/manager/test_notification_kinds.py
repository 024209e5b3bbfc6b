"""Payloads of notifications: what is legal, what is refused and under which name, what the JSON is.

Expected values are those of docs/notifications.md, whose table is compared with the source.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.manager import notification_kinds as kinds
from h3py.manager.notification_kinds import (
    KINDS,
    DataExport,
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
from tests.support.process import ROOT

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

LEGAL: dict[str, dict[str, Any]] = {
    "payment": {"payment_id": "p1", "status": "failed", "amount": Decimal("12.50"),
                "currency": "EUR"},
    "user_account": {"user_id": "ada", "action": "locked"},
    "system_health": {"component": "db", "status": "down", "metrics": {"lag_s": 4.5}},
    "maintenance": {"status": "scheduled", "starts_at": NOON, "ends_at": NOON,
                    "components": ("db",)},
    "video_processing": {"video_id": "v1", "status": "running", "percent": 40},
    "data_export": {"export_id": "e1", "status": "completed", "rows": 3, "url": "/exports/e1"},
    "post_update": {"post_id": "77", "action": "liked", "author_id": "ada", "title": "On events"},
    "profile_update": {"user_id": "ada", "changed": ("name",)},
    "user_activity": {"user_id": "ada", "action": "is typing", "object_id": "room"},
}  # fmt: skip


def made(kind: str, **changes: Any) -> Notification:
    return KINDS[kind](**{**LEGAL[kind], **changes})


def test_there_are_the_nine_kinds() -> None:
    assert set(KINDS) == set(LEGAL)
    assert set(get_args(kinds.AnyKind)) == set(KINDS.values())


@pytest.mark.parametrize("kind", LEGAL)
def test_the_json_of_a_kind(kind: str) -> None:
    found = json.loads(encode(made(kind, id="n1", time=NOON, message="look")))
    own = {
        name: {"amount": "12.50", "starts_at": "2026-03-01T12:00:00Z"}.get(name, value)
        for name, value in LEGAL[kind].items()
    }
    if kind == "maintenance":
        own["ends_at"] = "2026-03-01T12:00:00Z"
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    assert list(found)[:5] == ["kind", "id", "time", "severity", "message"]
    assert found["kind"] == kind
    assert found["id"] == "n1"
    assert found["time"] == "2026-03-01T12:00:00Z"
    assert found["message"] == "look"
    assert {name: found[name] for name in own} == own


def test_what_was_not_said_is_null_and_still_there() -> None:
    found = json.loads(encode(made("data_export", rows=None, url=None)))
    assert (found["rows"], found["url"], found["expires_at"]) == (None, None, None)
    assert found["message"] == ""


def test_each_has_an_id_of_its_own_and_the_time_it_was_made() -> None:
    before = datetime.now(UTC)
    one, other = made("payment"), made("payment")
    assert one.id != other.id
    assert len(one.id) >= 12
    assert before <= one.time <= datetime.now(UTC)


def test_times_are_sent_in_utc() -> None:
    local = datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2, minutes=30)))
    assert json.loads(encode(made("payment", time=local)))["time"] == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("kind", "word", "severity"),
    [
        ("payment", "succeeded", "success"), ("payment", "failed", "error"),
        ("payment", "disputed", "warning"), ("payment", "pending", "info"),
        ("payment", "refunded", "info"), ("system_health", "ok", "success"),
        ("system_health", "degraded", "warning"), ("system_health", "down", "critical"),
        ("maintenance", "scheduled", "info"), ("maintenance", "started", "warning"),
        ("maintenance", "finished", "success"), ("maintenance", "cancelled", "info"),
        ("video_processing", "running", "info"), ("video_processing", "completed", "success"),
        ("data_export", "failed", "error"), ("data_export", "queued", "info"),
        ("user_account", "locked", "warning"), ("user_account", "created", "info"),
        ("post_update", "liked", "info"), ("user_activity", "failed", "info"),
    ],
)  # fmt: skip
def test_the_severity_follows_from_what_is_said(kind: str, word: str, severity: str) -> None:
    name = "action" if "action" in LEGAL[kind] else "status"
    assert made(kind, **{name: word}).severity == severity
    assert made(kind, **{name: word}, severity="critical").severity == "critical"


def test_progress_of_one_task_has_one_key() -> None:
    assert made("video_processing", percent=1).key == "video_processing:v1"
    assert made("video_processing", percent=2).key == "video_processing:v1"
    assert made("video_processing", video_id="v2").key == "video_processing:v2"
    assert made("data_export").key == "data_export:e1"
    assert {made(kind).key for kind in LEGAL if "process" not in kind and "export" not in kind} == {
        None
    }


HALF = "\ud83d"
WRONG: list[tuple[str, str, Any, type[Exception]]] = [
    ("payment", "amount", 12.5, TypeError),
    ("payment", "amount", None, TypeError),
    ("payment", "amount", "twelve", ValueError),
    ("payment", "amount", Decimal("NaN"), ValueError),
    ("payment", "amount", Decimal("Infinity"), ValueError),
    ("payment", "amount", Decimal("1e31"), ValueError),
    ("payment", "amount", Decimal("1" * 31), ValueError),
    ("payment", "currency", "eur", ValueError),
    ("payment", "currency", "EURO", ValueError),
    ("payment", "currency", "EUR\n", ValueError),
    ("payment", "status", "lost", ValueError),
    ("payment", "payment_id", "", ValueError),
    ("payment", "payment_id", 7, TypeError),
    ("payment", "id", "x" * 129, ValueError),
    ("payment", "message", "x" * 2001, ValueError),
    ("payment", "message", HALF, ValueError),
    ("payment", "severity", "fatal", ValueError),
    ("payment", "time", datetime(2026, 3, 1), ValueError),
    ("payment", "time", "yesterday", ValueError),
    ("payment", "time", datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), ValueError),
    ("user_account", "action", "promoted", ValueError),
    ("system_health", "metrics", {"lag": "long"}, TypeError),
    ("system_health", "metrics", {"lag": float("nan")}, ValueError),
    ("system_health", "metrics", {HALF: 1.0}, ValueError),
    ("system_health", "metrics", {str(n): 1.0 for n in range(51)}, ValueError),
    ("maintenance", "ends_at", NOON - timedelta(seconds=1), ValueError),
    ("maintenance", "components", "db", TypeError),
    ("maintenance", "components", ("db", ""), ValueError),
    ("maintenance", "components", (HALF,), ValueError),
    ("maintenance", "components", ("x",) * 51, ValueError),
    ("video_processing", "percent", 100.5, ValueError),
    ("video_processing", "percent", -1, ValueError),
    ("video_processing", "percent", float("nan"), ValueError),
    ("video_processing", "percent", "40", TypeError),
    ("video_processing", "percent", True, TypeError),
    ("data_export", "rows", -1, ValueError),
    ("data_export", "rows", 1.5, TypeError),
    ("profile_update", "changed", (), ValueError),
    ("user_activity", "action", "", ValueError),
]


@pytest.mark.parametrize(("kind", "name", "value", "error"), WRONG)
def test_what_is_wrong_is_refused_by_its_name(
    kind: str, name: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=rf"^{name}\b"):
        made(kind, **{name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("payment", "amount", Decimal("1" * 30)), ("payment", "amount", Decimal("-0.01")),
        ("payment", "message", "x" * 2000), ("payment", "id", "x" * 128),
        ("system_health", "metrics", {str(n): 1.0 for n in range(50)}),
        ("maintenance", "components", ("x",) * 50), ("video_processing", "percent", 0),
        ("video_processing", "percent", 100), ("data_export", "rows", 0),
        ("profile_update", "changed", ("x",) * 50),
    ],
)  # fmt: skip
def test_at_the_limit_it_is_legal(kind: str, name: str, value: Any) -> None:
    assert getattr(made(kind, **{name: value}), name) == value


@pytest.mark.parametrize(
    "url", ["https://example.org/a?b=c#d", "http://example.org", "/", "/exports/1.csv"]
)
def test_an_address_that_a_page_may_link(url: str) -> None:
    assert made("post_update", url=url).url == url  # type: ignore[attr-defined]  # of its kind


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "//elsewhere.example",
        "/\\elsewhere.example", "/\t/elsewhere.example", "exports/1", "", " /", "https://a b",
        "/x\n", "ftp://example.org", "/" + "x" * 2048,
    ],
)  # fmt: skip
def test_an_address_that_no_page_should_link(url: str) -> None:
    for kind in ("post_update", "data_export", "video_processing"):
        with pytest.raises(ValueError, match=r"^url: "):
            made(kind, url=url)


def test_a_notification_is_frozen() -> None:
    with pytest.raises(AttributeError):
        made("payment").message = "changed"  # type: ignore[misc]  # it must not be possible


@pytest.mark.parametrize("kind", LEGAL)
def test_its_json_is_read_back(kind: str) -> None:
    one = made(kind, message="Grüße\nfrom “here” \u2028")
    assert decode(encode(one)) == one


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "Input data was truncated"), ("[]", "object"), ("{}", "kind"),
        ('{"kind": "party"}', "kind: invalid value 'party'"),
        ('{"kind": "user_account", "action": "locked"}', "missing required field `user_id`"),
        ('{"kind": "user_account", "action": "locked", "user_id": 5}', "user_id: expected `str`"),
        ('{"kind": "user_account", "action": "locked", "user_id": "a", "x": 1}', "field `x`"),
        ('{"kind": "video_processing", "video_id": "v", "status": "running", "percent": 101}',
         "percent: expected `float` <= 100"),
        ('{"kind":"payment","payment_id":"p","status":"failed","currency":"EUR","amount":1e40}',
         "amount: more than 30 digits"),
        ('{"kind":"user_account","action":"locked","user_id":"a","time":"0001-01-01T00:00:00+14:00"}',
         "time: outside"),
    ],
)  # fmt: skip
def test_json_that_is_wrong_is_a_value_error_that_says_where(raw: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        decode(raw)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_anything_is_a_notification_or_a_value_error(raw: bytes | str) -> None:
    try:
        assert isinstance(decode(raw), Notification)
    except ValueError:
        pass


@given(
    message=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    amount=st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=0, max_value=9e9),
)
def test_text_and_amounts_survive(message: str, amount: Decimal) -> None:
    found = json.loads(encode(made("payment", message=message, amount=amount)))
    assert found["message"] == message
    assert Decimal(found["amount"]) == amount


def test_the_page_lists_every_field_of_every_kind() -> None:
    page = (ROOT / "docs" / "notifications.md").read_text()
    common = {item.name for item in msgspec.structs.fields(Notification)}
    for name, kind in KINDS.items():
        section = page.partition(f"### `{name}`\n")[2].partition("\n##")[0]
        listed = re.findall(r"^\| `(\w+)` \|", section, re.M)
        own = [item.name for item in msgspec.structs.fields(kind) if item.name not in common]
        assert listed == own, name
    head = page.partition("## What all have\n")[2].partition("\n##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", head, re.M)) == common | {"kind"}


def test_the_classes_have_the_names_that_programs_import() -> None:
    assert list(KINDS.values()) == [
        Payment, UserAccount, SystemHealth, Maintenance, VideoProcessing, DataExport, PostUpdate,
        ProfileUpdate, UserActivity,
    ]  # fmt: skip
