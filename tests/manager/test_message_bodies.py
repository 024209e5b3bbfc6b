"""The bodies of messages: their size and type, and which pages may send them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from h3py.app.middleware import CORS
from h3py.manager.messages import MAX_TARGETS
from tests.manager.support.mounted import Mounted
from tests.support.client import Reply

Make = Callable[..., Mounted]
ORIGIN = "https://example.org"


def sent(reply: Reply) -> int:
    assert reply.status == 200, reply
    assert reply.head["content-type"] == "application/json"
    found = json.loads(reply.body)
    assert found.keys() == {"sent"}
    return int(found["sent"])


# Limits.


def test_the_number_of_targets(mounted: Mounted) -> None:
    names = [str(number) for number in range(MAX_TARGETS + 1)]
    for target in ("user", "channel"):
        assert sent(mounted.message(target=target, target_id=names[:-1], event="x")) == 0
        reply = mounted.message(target=target, target_id=names, event="x")
        assert (reply.status, reply.text) == (400, "$.target_id: 1 to 100 names, not 101")


def test_the_length_of_names(mounted: Mounted) -> None:
    for name in ("x" * 128, "é" * 64):
        stream = mounted.stream(channels=name)
        fields = {"target_id": name, "event": name, "key": name, "metadata": {name: name * 2}}
        assert sent(mounted.message(target="channel", **fields)) == 1
        assert stream.read_event().type == name


def test_the_size_of_a_message(make: Make) -> None:
    body = b'{"target": "broadcast", "event": "x"}'
    default = make()
    assert default.post("/message", body.ljust(65536)).status == 200
    assert default.post("/message", body.ljust(65537)).status == 413
    narrow = make(mount={"max_message_bytes": 100})
    assert narrow.post("/message", body.ljust(100)).status == 200
    reply = narrow.post("/message", body.ljust(101))
    assert (reply.status, reply.text) == (413, "the body is over 100 bytes")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json ;charset=utf-8",
    ],
)
def test_json_is_taken(kind: str, mounted: Mounted) -> None:
    body = b'{"target": "broadcast", "event": "x"}'
    assert mounted.post("/message", body, fields=[("Content-Type", kind)]).status == 200


# What a form can send without asking first, and what only looks like JSON.
OTHER_KINDS = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/plain; charset=application/json",
    "text/plain, application/json",
    "application/jsonp",
    "application/json, text/plain",
    "application/ld+json",
    "text/json",
    "",
]


@pytest.mark.parametrize("path", ["/message", "/ping"])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_types_are_not(kind: str, path: str, mounted: Mounted) -> None:
    stream = mounted.stream()
    body = b'{"target": "broadcast", "event": "x"}'
    for fields in ([("Content-Type", kind)], [("Content-Type", kind)] * 2):
        reply = mounted.post(path, body, fields=fields)
        assert (reply.status, reply.head["accept"]) == (415, "application/json")
    mounted.manager.broadcast("end")
    assert stream.read_event().type == "end"


def test_no_type_and_two_types_are_not(mounted: Mounted) -> None:
    body = b'{"target": "broadcast", "event": "x"}'
    json_type = ("Content-Type", "application/json")
    assert mounted.post("/message", body, fields=[]).status == 415
    assert mounted.post("/message", body, fields=[json_type, json_type]).status == 415
    encoded = mounted.post("/message", body, fields=[json_type, ("Content-Encoding", "gzip")])
    assert (encoded.status, encoded.head["accept-encoding"]) == (415, "identity")
    identity = mounted.post("/message", body, fields=[json_type, ("Content-Encoding", "identity")])
    assert identity.status == 200


# Other origins.


def foreign(*, site: bool = True) -> list[tuple[str, str]]:
    fields = [("Content-Type", "application/json"), ("Origin", ORIGIN), ("Cookie", "session=1")]
    return [*fields, ("Sec-Fetch-Site", "cross-site")] if site else fields


@pytest.mark.parametrize("site", [True, False])
def test_a_page_of_another_origin_cannot_post(site: bool, make: Make) -> None:
    """Even if a browser could be talked into sending JSON without a preflight."""
    body = b'{"target": "broadcast", "event": "x"}'
    for cors in (None, CORS(origins=["https://friend.example"], credentials=True), CORS()):
        mounted = make(mount={"cors": cors})
        reply = mounted.post("/message", body, fields=foreign(site=site))
        assert reply.status == 403
        assert reply.head.get("access-control-allow-credentials") is None


def test_one_that_cors_allows_can(make: Make) -> None:
    body = b'{"target": "broadcast", "event": "x"}'
    mounted = make(mount={"cors": CORS(origins=[ORIGIN], credentials=True)})
    reply = mounted.post("/message", body, fields=foreign())
    assert (reply.status, reply.head["access-control-allow-origin"]) == (200, ORIGIN)
    assert reply.head["access-control-allow-credentials"] == "true"
