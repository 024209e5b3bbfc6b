"""`H3Event`, the answer's side: collected, decided once, or a stream begun."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from h3py.app import H3, H3Event
from h3py.errors import (
    ConfigError,
    HTTPError,
    NotStreamingMode,
    ResponseAlreadySent,
    SSEAlreadyStarted,
)
from h3py.http import Response
from h3py.options import Backend
from tests.app.kit import MemoryExchange, ask, for_backend, make_event, recorded_streams


def decided(event: H3Event) -> Response:
    assert event._response is not None
    return event._response


SENDERS: dict[str, Any] = {
    "text": lambda event: event.send_text("x"),
    "html": lambda event: event.send_html("x"),
    "json": lambda event: event.send_json(1),
    "bytes": lambda event: event.send_bytes(b"x"),
    "empty": lambda event: event.send_empty(),
    "response": lambda event: event.send_response(Response(201)),
    "redirect": lambda event: event.redirect("/"),
    "error": lambda event: event.send_error(400),
}
SETTERS: dict[str, Any] = {
    "status": lambda event: event.set_status(201),
    "header": lambda event: event.set_header("a", "b"),
    "added header": lambda event: event.add_header("a", "b"),
    "cookie": lambda event: event.set_cookie("a", "b"),
    "deleted cookie": lambda event: event.delete_cookie("a"),
}
DECIDERS = SENDERS | {"stream": lambda event: event.start_sse()}


@pytest.mark.parametrize("later", [*SETTERS, *DECIDERS])
@pytest.mark.parametrize("first", DECIDERS)
def test_the_answer_is_decided_once(first: str, later: str) -> None:
    event = make_event()
    assert (event.sse_started, event.response_sent) == (False, False)
    DECIDERS[first](event)
    assert (event.sse_started, event.response_sent) == (first == "stream", first != "stream")
    expected = SSEAlreadyStarted if first == "stream" else ResponseAlreadySent
    with pytest.raises(expected):
        (SETTERS | DECIDERS)[later](event)


@pytest.mark.parametrize(
    ("sender", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain; charset=utf-8", b"x"),
        ("html", 200, "text/html; charset=utf-8", b"x"),
        ("json", 200, "application/json", b"1"),
        ("bytes", 200, "application/octet-stream", b"x"),
        ("empty", 204, None, b""),
        ("response", 201, None, b""),
        ("error", 400, "text/plain; charset=utf-8", b"Bad Request"),
    ],
)
def test_senders(sender: str, status: int, content_type: str | None, body: bytes) -> None:
    event = make_event()
    event.set_header("X-One", "1")
    SENDERS[sender](event)
    response = decided(event)
    headers = dict(response.headers)
    assert (response.status, headers.get("content-type"), response.body) == (
        status, content_type, body,
    )  # fmt: skip
    assert headers["x-one"] == "1"


def test_senders_take_a_status_and_bytes_a_type() -> None:
    event = make_event()
    event.send_text("x", status=201)
    assert decided(event).status == 201
    event = make_event()
    event.set_status(202)
    event.send_bytes(b"x", content_type="image/png")
    assert (decided(event).status, decided(event).headers) == (202, [("content-type", "image/png")])


def test_a_content_type_of_the_events_own_wins() -> None:
    event = make_event()
    event.set_header("Content-Type", "text/csv")
    event.send_text("a,b")
    assert decided(event).headers == [("content-type", "text/csv")]


def test_headers_replace_and_add() -> None:
    event = make_event()
    event.set_header("Link", "one")
    event.add_header("link", "two")
    event.set_header("x", "1")
    event.set_header("X", "2")
    event.send_empty()
    assert decided(event).headers == [("link", "one"), ("link", "two"), ("x", "2")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("a\r\nb", "x"), ("a b", "x"), ("", "x"), ("a", "x\r\ny: z"), ("a", "x\0"), ("a", "€")],
)
def test_headers_that_cannot_be_sent_are_refused_where_they_are_set(name: str, value: str) -> None:
    event = make_event()
    for setter in (event.set_header, event.add_header):
        with pytest.raises(ValueError):
            setter(name, value)
    with pytest.raises(TypeError):
        event.set_header("a", 1)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError):
        event.set_header(1, "a")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("status", [199, 600, 0, -1])
def test_statuses_are_final_ones(status: int) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        make_event().set_status(status)


def test_statuses_are_numbers() -> None:
    event = make_event()
    event.set_status(HTTPStatus.ACCEPTED)
    assert event.status == 202
    for wrong in ("200", 200.0, None):
        with pytest.raises(TypeError):
            event.set_status(wrong)  # type: ignore[arg-type]  # on purpose


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: Any) -> None:
    event = make_event()
    event.redirect("/a?b=1#c", status=status)
    response = decided(event)
    assert (response.status, response.headers) == (status, [("location", "/a?b=1#c")])


def test_a_location_is_escaped_but_not_twice() -> None:
    event = make_event()
    event.redirect("https://example.org/caf\u00e9 x/%C3%A9")
    assert decided(event).headers == [("location", "https://example.org/caf%C3%A9%20x/%C3%A9")]


def test_redirects_that_cannot_be_are_refused() -> None:
    for wrong in ("/\r\nset-cookie: a=b", "/\n", "/\0", "/\x7f"):
        with pytest.raises(ValueError, match="control character"):
            make_event().redirect(wrong)
    with pytest.raises(ValueError, match="redirect status"):
        make_event().redirect("/", status=200)  # type: ignore[arg-type]  # on purpose


# Errors.


def test_error_helpers() -> None:
    cases: list[tuple[Any, int, dict[str, str]]] = [
        (lambda event: event.bad_request("why"), 400, {}),
        (lambda event: event.unauthorized("why"), 401, {"www-authenticate": "Bearer"}),
        (lambda event: event.forbidden("why"), 403, {}),
        (lambda event: event.not_found("why"), 404, {}),
        (lambda event: event.too_many_requests(1.2, "why"), 429, {"retry-after": "2"}),
    ]
    for helper, status, headers in cases:
        event = make_event()
        helper(event)
        response = decided(event)
        assert (response.status, response.body) == (status, b"why")
        assert headers.items() <= dict(response.headers).items()


# Cookies.


EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


def test_cookies_are_set_side_by_side() -> None:
    event = make_event()
    event.set_cookie("a", "1")
    event.set_cookie("b", "2", http_only=False, same_site=None, path=None)
    event.delete_cookie("c", path="/x", secure=True)
    event.send_empty()
    assert decided(event).headers == [
        ("set-cookie", "a=1; Path=/; HttpOnly; SameSite=Lax"),
        ("set-cookie", "b=2"),
        (
            "set-cookie",
            f"c=; Max-Age=0; Expires={EPOCH}; Path=/x; Secure; HttpOnly; SameSite=Lax",
        ),
    ]


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_cookies_are_secure_where_the_request_was(scheme: str, secure: bool) -> None:
    event = make_event(exchange=MemoryExchange(scheme=scheme))
    event.set_cookie("a", "1")
    event.set_cookie("b", "2", secure=not secure)
    event.send_empty()
    assert ["Secure" in value for _, value in decided(event).headers] == [secure, not secure]


def test_a_bad_cookie_changes_nothing() -> None:
    event = make_event()
    with pytest.raises(ValueError, match="'a'"):
        event.set_cookie("a", "x; Domain=evil")
    event.send_empty()
    assert decided(event).headers == []


# Streams.


def test_a_stream_takes_status_and_headers_with_it() -> None:
    exchange = MemoryExchange()
    event = make_event(exchange=exchange)
    event.set_status(203)
    event.set_header("X-One", "1")
    event.set_header("Content-Type", "text/html")
    event.set_header("Cache-Control", "no-store")
    event.set_cookie("a", "1")
    assert event.start_sse() is event.stream
    assert exchange.head == (
        203,
        [
            ("x-one", "1"),
            ("cache-control", "no-store"),
            ("set-cookie", "a=1; Path=/; HttpOnly; SameSite=Lax"),
        ],
    )


def test_a_stream_that_cannot_begin_leaves_the_event_open() -> None:
    event = make_event(exchange=MemoryExchange(refusal=HTTPError(503)))
    with pytest.raises(HTTPError):
        event.start_sse()
    assert not event.sse_started
    event.send_text("too many")


def test_the_stream_callback() -> None:
    def callback(writer: Any) -> None: ...
    async def async_callback(writer: Any) -> None: ...

    event = make_event(can_await=False)
    with pytest.raises(NotStreamingMode, match=r"call start_sse\(\) first"):
        event.set_stream_callback(callback)
    event.start_sse()
    with pytest.raises(ConfigError, match="needs the trio backend"):
        event.set_stream_callback(async_callback)
    with pytest.raises(TypeError, match="not callable"):
        event.set_stream_callback("x")  # type: ignore[arg-type]  # on purpose
    event.set_stream_callback(callback, context=True, user_data=7)
    kept = event._stream_callback
    assert kept is not None
    assert (kept.callback, kept.context, kept.user_data) == (callback, True, 7)
    with pytest.raises(SSEAlreadyStarted, match="has a callback already"):
        event.set_stream_callback(callback)

    event = make_event(can_await=True)
    event.start_sse()
    event.set_stream_callback(async_callback)


def test_a_callback_set_too_late_is_refused(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = H3()
    app.get("/", for_backend(lambda event: event.start_sse(), backend))
    with recorded_streams(monkeypatch) as streams:
        ask(app, backend=backend)
    with pytest.raises(SSEAlreadyStarted, match="the handler has returned"):
        streams[0][0].set_stream_callback(print)


def test_it_says_what_it_is() -> None:
    assert repr(make_event("POST", "/a?b")) == "<H3Event POST /a?b>"
