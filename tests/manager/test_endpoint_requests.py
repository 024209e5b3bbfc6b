"""Requests to the endpoints: what stands in a query, methods, pings, statistics, the script."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import h3py
from h3py import CloseReason, Principal
from h3py.manager.endpoints import SCRIPT
from h3py.testing import ManualClock, wait_until
from tests.manager.support.mounted import Mounted, only, token
from tests.support.client import Reply
from tests.support.process import ROOT

Make = Callable[..., Mounted]


# Values in the query.


def texts(size: int) -> list[tuple[str, bool]]:
    """Names of a size in bytes, and whether that is allowed."""
    return [("x" * size, size <= 128), ("é" * (size // 2) + "x" * (size % 2), size <= 128)]


@pytest.mark.parametrize(("name", "is_allowed"), [*texts(127), *texts(128), *texts(129)])
def test_the_length_of_names(name: str, is_allowed: bool, mounted: Mounted) -> None:
    for field in ("channels", "client_id"):
        if is_allowed:
            mounted.stream(**{field: name}).client.close()
            continue
        reply = mounted.get(f"?{field}={quote(name)}")
        assert reply.status == 400
        assert reply.text.startswith(field)
        assert "at most 128 bytes" in reply.text
    if not is_allowed:
        mounted.expect_nothing_began()


def test_the_number_of_channels(mounted: Mounted) -> None:
    hundred = ",".join(map(str, range(100)))
    assert len(mounted.stream(channels=hundred).hello["channels"]) == 100
    assert len(mounted.stream(channels=f"{hundred},7,7").hello["channels"]) == 100
    reply = mounted.get(f"?channels={hundred},100")
    assert (reply.status, reply.text) == (400, "channels: at most 100, not 101")
    assert mounted.get(f"?channels={hundred}&channels=100").status == 400


def test_ways_to_name_channels(mounted: Mounted) -> None:
    for query, channels in [
        ("", []),
        ("?channels=", []),
        ("?channels=a&channels=b,a", ["a", "b"]),
        ("?channels=a%2Cb", ["a", "b"]),
        ("?channels=%F0%9F%8E%89+x", ["🎉 x"]),
    ]:
        stream = mounted.client().open_stream(f"/api/sse{query}", token("ann"))
        assert json.loads(stream.read_event().data)["channels"] == channels


HOSTILE = ["%0D%0Aid:%20x", "a%0Ab", "a%0Db", "a%00b", "%7F", "%C2%85", "%09"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("field", ["channels", "client_id"])
def test_control_characters_are_refused(field: str, value: str, mounted: Mounted) -> None:
    reply = mounted.get(f"?{field}={value}")
    assert reply.status == 400
    assert reply.text.startswith(field)
    assert "control characters" in reply.text
    mounted.expect_nothing_began()


@pytest.mark.parametrize("query", ["channels=%FF", "client_id=%C3", "channels=%ED%A0%80"])
def test_what_is_no_text_is_refused(query: str, mounted: Mounted) -> None:
    assert mounted.get(f"?{query}").status == 400
    mounted.expect_nothing_began()


@pytest.mark.parametrize("query", ["channels=a,,b", "channels=,", "client_id="])
def test_empty_names_are_refused(query: str, mounted: Mounted) -> None:
    reply = mounted.get(f"?{query}")
    assert reply.status == 400
    assert "must not be empty" in reply.text
    mounted.expect_nothing_began()


def test_text_that_means_something_elsewhere_is_only_text(mounted: Mounted) -> None:
    name = "\"}\\u000a</script>{{7*7}}' OR 1=1;--\u2028data: x"
    stream = mounted.stream(channels=name, client_id=name)
    assert (stream.hello["channels"], stream.hello["client_id"]) == ([name], name)
    assert stream.raw.count(b"\n\n") <= 2, "a retry and one event"


@pytest.mark.parametrize("user_id", ["", "a\r\nb", "a\0b", "x" * 129])
def test_a_user_id_that_is_none_is_refused(user_id: str, make: Make) -> None:
    """What authenticate takes from a request may be anything."""
    mounted = make(mount={"authenticate": lambda event: Principal(user_id=user_id)})
    reply = mounted.get()
    assert reply.status == 400
    assert reply.text.startswith("user_id")
    mounted.expect_nothing_began()


def test_hostile_last_event_ids(mounted: Mounted) -> None:
    for value in ("a\r\nid: b", "\0", "9" * 4000, "-1", "000000000000-000000000001"):
        stream = mounted.stream(last_event_id=value)
        assert stream.read_event().type == "h3py:reset"
        assert b"id: b\n" not in stream.raw
        stream.client.close()


# Methods.


def test_head_is_the_head_and_replaces_nobody(mounted: Mounted) -> None:
    stream = mounted.stream("ann", client_id="tab-1")
    reply = mounted.get("?client_id=tab-1", method="HEAD")
    assert (reply.status, reply.head["content-type"]) == (200, "text/event-stream")
    assert mounted.get("?channels=secret", "bob", method="HEAD").status == 403
    mounted.manager.send_to_client("tab-1", "x", "y")
    assert only([stream.read_event()]) == [("x", "y")]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("", "GET, HEAD, OPTIONS"),
        ("/message", "OPTIONS, POST"),
        ("/ping", "OPTIONS, POST"),
        ("/stats", "GET, HEAD, OPTIONS"),
        ("/client.js", "GET, HEAD, OPTIONS"),
    ],
)
def test_other_methods(path: str, allow: str, mounted: Mounted) -> None:
    reply = mounted.get(path, method="OPTIONS")
    assert (reply.status, reply.head["allow"]) == (204, allow)
    for method in ("PUT", "DELETE", "POST" if "GET" in allow else "GET"):
        reply = mounted.get(path, method=method)
        assert (reply.status, reply.head["allow"]) == (405, allow)


def test_pages_of_other_origins_get_nothing(mounted: Mounted) -> None:
    """Their browser would send the visitor's cookies along."""
    foreign = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]
    assert mounted.get("", "ann", foreign).status == 403
    assert mounted.get("/stats", "ann", foreign).status == 403
    assert mounted.get("", "ann", foreign, method="HEAD").status == 403
    mounted.expect_nothing_began()
    stream = mounted.stream("ann", [("Origin", "http://localhost"), ("Host", "localhost")])
    stream.client.close()
    mounted.stream("ann", [("Sec-Fetch-Site", "same-origin")])


# Pings.


def ping(mounted: Mounted, client_id: object, who: str = "ann") -> Reply:
    return mounted.post("/ping", {"client_id": client_id}, who)


def test_a_ping_renews_the_lease(make: Make) -> None:
    clock = ManualClock()
    mounted = make(clock=clock, lease_s=10.0, heartbeat_s=None)
    stream = mounted.stream()
    for _ in range(3):
        clock.advance(8)
        reply = ping(mounted, stream.hello["client_id"])
        assert (reply.status, reply.body) == (204, b"")
    mounted.manager.broadcast("x")
    assert stream.read_event().type == "x"
    clock.advance(8)
    clock.advance(4)
    assert stream.read_to_end() == []
    stream.client.close()
    wait_until(
        lambda: mounted.server.closed_streams.get(CloseReason.LEASE_EXPIRED) == 1,
        what="the lease has ended",
    )
    assert ping(mounted, stream.hello["client_id"]).status == 404


def test_pings_for_somebody_else(mounted: Mounted) -> None:
    client_id = mounted.stream("ann").hello["client_id"]
    of_guest = mounted.stream("guest").hello["client_id"]
    assert [ping(mounted, client_id, who).status for who in ("bob", "guest", "eve")] == [404] * 3
    assert ping(mounted, of_guest, "ann").status == 404
    assert ping(mounted, "no-such-client").status == 404
    assert ping(mounted, client_id, "ann").status == 204
    assert ping(mounted, of_guest, "guest").status == 204


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{}", "`client_id`"),
        (b'{"client_id": 7}', "$.client_id"),
        (b'{"client_id": null}', "$.client_id"),
        (b'{"client_id": ""}', "$.client_id"),
        (b'{"client_id": "a\\nb"}', "$.client_id"),
        (b'{"client_id": "%s"}' % (b"x" * 129), "$.client_id"),
        (b'{"client_id": "x", "user_id": "bob"}', "`user_id`"),
        (b"[]", "object"),
        (b"", "truncated"),
        (b"x", "malformed"),
    ],
)
def test_pings_that_are_none(body: bytes, named: str, mounted: Mounted) -> None:
    reply = mounted.post("/ping", body)
    assert reply.status == 400
    assert named in reply.text


def test_the_size_of_a_ping(mounted: Mounted) -> None:
    body = b'{"client_id": "nobody"}'
    assert mounted.post("/ping", body.ljust(1024)).status == 404
    assert mounted.post("/ping", body.ljust(1025)).status == 413


# Statistics.


def test_statistics_are_for_those_who_may_see_them(mounted: Mounted) -> None:
    mounted.stream("bob")
    reply = mounted.get("/stats", "ann")
    assert (reply.status, reply.head["cache-control"]) == (200, "no-store")
    found = json.loads(reply.body)
    assert (found["connections"], found["users"]) == (1, 1)
    assert mounted.get("/stats", "bob").status == 403
    assert mounted.get("/stats", "guest").status == 403


# The script.


def test_the_script(mounted: Mounted) -> None:
    reply = mounted.get("/client.js", "")
    assert reply.status == 200
    assert reply.head["content-type"] == "text/javascript; charset=utf-8"
    assert reply.head["cache-control"] == "no-cache"
    assert b"export" in reply.body
    etag = reply.head["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = mounted.get("/client.js", "", [("If-None-Match", known)])
        assert (again.status, again.body, again.head["etag"]) == (304, b"", etag)
    assert mounted.get("/client.js", "", [("If-None-Match", '"x"')]).body == reply.body
    head = mounted.get("/client.js", "", method="HEAD")
    assert (head.status, head.head["content-length"]) == (200, str(len(reply.body)))


def test_the_wheel_carries_the_script() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["h3py"]
    package = Path(h3py.__file__).parent
    assert SCRIPT in {path for pattern in patterns for path in package.glob(pattern)}
