"""Mounting: where the endpoints stand, what guards them, and what a mount refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from h3py import (
    CORS,
    H3,
    ConfigError,
    H3Event,
    ManagerClosed,
    Principal,
    RateLimit,
    SSEManager,
)
from h3py.options import Backend
from h3py.testing import ManualClock, wait_until
from tests.manager.support.mounted import Mounted, by_token, token
from tests.support.client import Client, Reply

Make = Callable[..., Mounted]
ORIGIN = "https://example.org"
PATHS = ["", "/message", "/ping", "/stats", "/client.js"]


@pytest.fixture
def asking(serve_app: Callable[..., Any]) -> Iterator[Callable[..., Reply]]:
    """``asking(app)(method, path)``: a request to an application, and its answer."""
    with ExitStack() as clients:

        def serve(app: H3) -> Callable[..., Reply]:
            server = serve_app(app)

            def ask(method: str, path: str, fields: Any = (), body: bytes | None = None) -> Reply:
                client = clients.enter_context(Client(server.addresses[0]))
                client.request(method, path, fields, body)
                return client.read_reply(head_only=method == "HEAD")

            return ask

        yield serve


# Where.


@pytest.mark.parametrize("prefix", ["/api/sse", "/events", "/a/b/c/", "/", ""])
def test_prefixes(prefix: str, asking: Any) -> None:
    app = H3()
    SSEManager().mount(app, prefix)
    ask = asking(app)
    base = prefix.rstrip("/")
    assert ask("HEAD", base or "/").head["content-type"] == "text/event-stream"
    assert ask("GET", f"{base}/client.js").status == 200
    assert ask("GET", f"{base}/stats").status == 403
    assert ask("GET", f"{base}/nothing").status == 404


def test_the_default_prefix_and_path(asking: Any) -> None:
    app = H3()
    manager = SSEManager()
    manager.mount(app)
    manager.mount_webhook(app, secret="x")
    ask = asking(app)
    assert ask("HEAD", "/api/sse").status == 200
    assert ask("HEAD", "/api/sse/").status == 404
    assert ask("POST", "/api/webhooks/example").status == 415


def test_in_an_application_that_is_mounted_itself(asking: Any) -> None:
    inner, outer = H3(), H3()
    SSEManager().mount(inner, "/sse")
    outer.mount("/v1", inner)
    assert asking(outer)("HEAD", "/v1/sse").status == 200


def test_an_application_that_is_served_again_publishes_before_anybody_comes(
    serve_app: Any,
) -> None:
    manager, app = SSEManager(), H3()
    manager.mount(app)
    for _ in range(2):
        server = serve_app(app)
        assert manager.broadcast("news", "nobody is here") == 0
        with Client(server.addresses[0]) as client:
            client.request("GET", "/api/sse")
            client.read_head()
            wait_until(lambda: manager.broadcast("news", "somebody is") == 1)
        server.shutdown()
        wait_until(lambda: manager.stats()["connections"] == 0)
        wait_until(lambda: closed(manager))


def closed(manager: SSEManager) -> bool:
    try:
        manager.broadcast("news")
    except ManagerClosed:
        return True
    return False


def test_two_managers_and_two_mounts_of_one(serve_app: Any) -> None:
    app = H3()
    one, two = SSEManager(), SSEManager()
    one.mount(app, "/one", public_channels=["a"])
    one.mount(app, "/members", authenticate=by_token)
    two.mount(app, "/two")
    address = serve_app(app).addresses[0]
    with Client(address) as first, Client(address) as second, Client(address) as third:
        streams = [
            first.open_stream("/one?channels=a"),
            second.open_stream("/members?channels=b", token("ann")),
            third.open_stream("/two"),
        ]
        for stream in streams:
            assert stream.read_event().type == "h3py:hello"
        one.broadcast("one")
        two.broadcast("two")
        assert [stream.read_event().type for stream in streams] == ["one", "one", "two"]


# Without authentication.


def test_without_authentication_broadcasts_come_and_nothing_else_is_open(make: Make) -> None:
    mounted = make(mount={"authenticate": None})
    stream = mounted.stream("")
    mounted.manager.broadcast("x")
    assert stream.read_event().type == "x"
    refused = mounted.get("?channels=news", "")
    assert (refused.status, refused.text) == (403, "channels: 'news' is not open to you")
    assert mounted.message("", target="broadcast", event="x").status == 403
    assert mounted.message("ann", target="broadcast", event="x").status == 403
    assert mounted.get("/stats", "").status == 403
    ping = mounted.post("/ping", {"client_id": stream.hello["client_id"]}, "")
    assert ping.status == 204


def test_without_authentication_nobody_is_a_user(make: Make) -> None:
    mounted = make(mount={"authenticate": None})
    mounted.stream("ann", user_id="ann", user="ann")
    (found,) = mounted.manager.get_connections()
    assert found.user_id is None


@pytest.mark.parametrize(
    "public", [["news", "room:*"], {"news": 1, "room:*": 2}, lambda name: name[:4] in "news room"]
)
def test_public_channels(public: Any, make: Make) -> None:
    mounted = make(mount={"authenticate": None, "public_channels": public})
    assert mounted.stream("", channels="news,room:7").hello["channels"] == ["news", "room:7"]
    assert mounted.get("?channels=news,secret", "").status == 403


# What guards them.


def preflight(ask: Any, path: str, origin: str = ORIGIN, method: str = "POST") -> Reply:
    fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "content-type,last-event-id"),
        ("Sec-Fetch-Site", "cross-site"),
    ]
    reply: Reply = ask("OPTIONS", path, fields)
    return reply


@pytest.mark.parametrize("path", PATHS)
def test_preflights(path: str, asking: Any) -> None:
    app = H3()
    SSEManager().mount(app, cors=CORS(origins=[ORIGIN], credentials=True), authenticate=by_token)
    ask = asking(app)
    reply = preflight(ask, f"/api/sse{path}")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.head["access-control-allow-origin"] == ORIGIN
    assert reply.head["access-control-allow-credentials"] == "true"
    assert "POST" in reply.head["access-control-allow-methods"]
    allowed = reply.head["access-control-allow-headers"].split(", ")
    assert {"content-type", "last-event-id", "authorization"} <= set(allowed)
    assert reply.head["vary"] == "Origin"
    refused = preflight(ask, f"/api/sse{path}", "https://evil.example")
    assert refused.status == 204
    assert refused.head["vary"] == "Origin"
    assert not [name for name, _ in refused.head.fields if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
def test_without_cors_a_preflight_allows_nothing(path: str, asking: Any) -> None:
    app = H3()
    SSEManager().mount(app)
    reply = preflight(asking(app), f"/api/sse{path}")
    assert not [name for name, _ in reply.head.fields if name.startswith("access-control")]


def test_cors_holds_for_streams_and_for_errors(make: Make) -> None:
    mounted = make(mount={"cors": CORS(origins=[ORIGIN], credentials=True)}, max_streams_per_user=1)
    foreign = [("Origin", ORIGIN), ("Sec-Fetch-Site", "cross-site"), ("Cookie", "a=b")]
    stream = mounted.stream("ann", foreign)
    heads = [
        stream.head,
        mounted.get("", "ann", foreign).head,
        mounted.get("", "nobody", foreign).head,
        mounted.get("?channels=secret", "bob", foreign).head,
        mounted.get("?channels=%00", "bob", foreign).head,
        mounted.get("/client.js", "", foreign).head,
        mounted.post("/message", b"", "ann", foreign).head,
        mounted.get("/stats", "ann", foreign, method="DELETE").head,
    ]
    assert [head.status for head in heads] == [200, 429, 401, 403, 400, 200, 415, 405]
    for head in heads:
        assert head["access-control-allow-origin"] == ORIGIN
        assert head["access-control-allow-credentials"] == "true"
        assert head["access-control-expose-headers"] == "retry-after"
        assert head["vary"] == "Origin"
    evil = mounted.get("", "bob", [("Origin", "https://evil.example")]).head
    assert (evil.status, evil.get("access-control-allow-origin")) == (403, None)


def test_an_applications_own_cors_holds_as_well(serve_app: Any) -> None:
    app = H3()
    app.use(CORS(origins=[ORIGIN], credentials=True))
    SSEManager().mount(app)
    with Client(serve_app(app).addresses[0]) as client:
        stream = client.open_stream(
            "/api/sse", [("Origin", ORIGIN), ("Sec-Fetch-Site", "cross-site")]
        )
        assert stream.head["access-control-allow-origin"] == ORIGIN


def test_what_guards_the_endpoints_guards_nothing_else(asking: Any) -> None:
    app = H3()
    app.get("/api/sse/mine", lambda event: "mine")
    app.get("/other", lambda event: "other")
    SSEManager().mount(app, cors=CORS(), rate_limit=RateLimit(1, per_s=60, clock=ManualClock()))
    ask = asking(app)
    foreign = [("Origin", ORIGIN), ("Sec-Fetch-Site", "cross-site")]
    for path in ("/api/sse/mine", "/other"):
        for _ in range(2):
            reply = ask("GET", path, foreign)
            assert reply.status == 200
            assert reply.head.get("access-control-allow-origin") is None


def test_the_rate_limit_comes_before_anybody_is_asked(make: Make) -> None:
    asked: list[str] = []

    def authenticate(event: H3Event) -> Principal | None:
        asked.append(event.path)
        return by_token(event)

    clock = ManualClock()
    limit = RateLimit(3, per_s=60, clock=clock)
    mounted = make(mount={"authenticate": authenticate, "rate_limit": limit, "cors": CORS()})
    assert mounted.get("", "nobody").status == 401
    assert mounted.message("nobody").status == 401
    assert mounted.get("/stats", "ann").status == 200
    foreign = [("Origin", ORIGIN)]
    refused = [
        mounted.get("", "ann", foreign),
        mounted.post("/ping", {}, "ann", [*foreign, ("Content-Type", "application/json")]),
        mounted.get("/stats", "ann", foreign),
    ]
    for reply in refused:
        assert (reply.status, reply.head["retry-after"]) == (429, "20")
        assert reply.head["access-control-allow-origin"] == "*"
    assert len(asked) == 3
    assert mounted.get("/client.js", "").status == 200, "the script is not counted"
    clock.advance(20)
    mounted.stream("ann")
    assert len(asked) == 4


# What is refused.


async def of_a_task(event: H3Event) -> Principal:
    return Principal()


def test_an_async_authenticate_needs_trio(backend: Backend) -> None:
    app = H3()
    SSEManager().mount(app, authenticate=of_a_task)
    if backend == "trio":
        app.check(backend)
        return
    with pytest.raises(ConfigError, match=r"of_a_task of route GET /api/sse .*POST /api/sse/mess"):
        app.check(backend)


def test_mistakes_are_named() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"public_channels": "news"}, "public_channels must be a collection"),
        ({"public_channels": ["*"]}, "public_channels: .* matches no channel"),
        ({"public_channels": [], "authenticate": by_token}, "without authenticate"),
        ({"cors": ["https://a.org"]}, "cors must be a CORS"),
        ({"rate_limit": 5}, "rate_limit must be a RateLimit"),
        ({"hello": 1}, "hello must be True or False"),
        ({"challenge": "a\r\nb"}, "challenge"),
        ({"max_message_bytes": -1}, "max_message_bytes must be a whole number"),
        ({"prefix": "api"}, "must begin with"),
    ]
    for options, message in wrong:
        app = H3()
        with pytest.raises(ConfigError, match=message):
            SSEManager().mount(app, **options)
        assert app.routes == [], "nothing was mounted"
    with pytest.raises(ConfigError, match="not an H3 application"):
        SSEManager().mount(SSEManager())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not callable"):
        SSEManager().mount(H3(), authenticate="ann")  # type: ignore[arg-type]


def test_mistakes_of_a_webhook_are_named() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"secret": ""}, "empty"),
        ({"tolerance_s": -1}, "tolerance_s"),
        ({"tolerance_s": None}, "tolerance_s"),
        ({"max_body_bytes": 1.5}, "max_body_bytes"),
        ({"max_remembered": 0}, "max_remembered"),
        ({"rate_limit": 5}, "rate_limit must be a RateLimit"),
        ({"path": "x"}, "must begin with"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            SSEManager().mount_webhook(H3(), **{"secret": "x", **options})
    with pytest.raises(ConfigError, match="not an H3 application"):
        SSEManager().mount_webhook(None, secret="x")  # type: ignore[arg-type]


def test_twice_at_one_place(serve_app: Any) -> None:
    app = H3()
    SSEManager().mount(app)
    SSEManager().mount(app)
    with pytest.raises(ConfigError, match="two handlers for GET '/api/sse"):
        serve_app(app)


def test_an_application_that_is_served_takes_no_more(make: Make) -> None:
    mounted = make()
    with pytest.raises(ConfigError, match="is being served"):
        mounted.manager.mount(mounted.app, "/late")


def test_answers_are_what_was_promised(make: Make) -> None:
    """The names that the browser's script and other programs rely on."""
    mounted = make(lease_s=45.0)
    hello = mounted.stream("ann", channels="news").hello
    assert hello == {"client_id": hello["client_id"], "channels": ["news"], "ping_s": 3.0}
    assert json.loads(mounted.message(target="broadcast", event="x").body) == {"sent": 1}
    assert mounted.post("/ping", {"client_id": hello["client_id"]}).status == 204
