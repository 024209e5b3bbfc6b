"""What the browser's script makes of answers: no more, not now, not you, not there.

And what it sends along, so that the answer is another one.
"""

from __future__ import annotations

from typing import Any

import pytest

from h3py.app.middleware import CORS
from tests.browser.client_site import Serve, Site, connected, numbers, open_page
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


def test_204_says_that_there_is_no_more(serve_app: Serve, context: Any, errors: list[str]) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), "{ to: '/nothing' }")
    page.wait_for_function("() => sse.status === 'closed'")
    assert page.evaluate("statuses") == [["closed", 204]]
    assert not site.manager.get_connections()
    errors.clear()  # Chromium complains of the 204 itself


def test_what_is_no_event_stream_is_not_taken_for_one(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), "{ to: '/' }")
    page.wait_for_function("() => sse.status === 'closed'")
    assert page.evaluate("statuses") == [["closed", 200]]


def test_a_server_that_is_busy_is_asked_again(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    server = serve_app(site.app, retry_ms=1)
    page = open_page(context, server, None)
    answers = iter([503, 429, 500, 408])

    def answer(route: Any) -> None:
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status)

    page.route("**/api/sse?*", answer)
    page.evaluate("start()")
    connected(page)
    statuses = page.evaluate("statuses")
    assert [status for status in statuses if isinstance(status, list)] == [
        ["waiting", 503], ["waiting", 429], ["waiting", 500], ["waiting", 408],
    ]  # fmt: skip
    errors.clear()  # Chromium's own words on each of them


def test_a_server_that_is_away_is_waited_for(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    """It asked for an hour; that the machine is back on a network is a reason to look at once."""
    site = Site()
    server = serve_app(site.app, retry_ms=3_600_000)
    page = connected(open_page(context, server))
    server.shutdown()
    page.wait_for_function("() => sse.status === 'waiting'")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_function("() => statuses.some((status) => status[1] === 'TypeError')")
    serve_app(Site().app, port=server.addresses[0][1])
    page.wait_for_function("() => (dispatchEvent(new Event('online')), sse.connected)")
    errors.clear()  # Chromium's own words on a refused connection


# What the script waits for is noted, and over at once.
NOTE_TIMES = """() => {
  window.waits = [];
  const { setTimeout } = window;
  window.setTimeout = (callback, ms) => (waits.push(ms), setTimeout(callback));
}"""


def test_it_waits_longer_after_each_failure_and_as_long_as_it_is_told(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=20_000), None)
    answers = iter([(503, {}), (503, {}), (503, {}), (503, {"retry-after": "7"}), (429, {})])

    def answer(route: Any) -> None:
        status, headers = next(answers, (200, {}))
        if status == 200:
            route.continue_()
        else:
            route.fulfill(status=status, headers=headers)

    page.route("**/api/sse?*", answer)
    page.evaluate(NOTE_TIMES)
    page.evaluate("start({ retryMs: 100 })")
    connected(page)
    waits = page.evaluate("waits")
    least = [100, 200, 400, 7000, 1600]
    assert [low <= wait <= 1.25 * low for low, wait in zip(least, waits, strict=True)] == [True] * 5
    # From here on the server's own time counts, with its jitter; and nothing has failed yet.
    page.unroute("**/api/sse?*")
    site.manager.disconnect_client(page.evaluate("sse.clientId"))
    page.wait_for_function("() => waits.length === 6 && sse.connected")
    assert 16_000 <= page.evaluate("waits[5]") <= 1.25 * 24_000
    errors.clear()  # Chromium's own words on each of them


def test_there_is_an_end_to_longer_and_longer(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    page = open_page(context, serve_app(Site().app, retry_ms=1), None)
    page.evaluate(NOTE_TIMES)
    page.route("**/api/sse?*", lambda route: route.fulfill(status=503))
    page.evaluate("start({ retryMs: 1000 })")
    page.wait_for_function("() => waits.length >= 9")
    page.evaluate("sse.close()")
    assert 30_000 <= page.evaluate("waits[8]") <= 37_500
    errors.clear()


def test_a_name_that_is_somebody_elses_by_now_is_given_up(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    page = connected(open_page(context, serve_app(site.app, retry_ms=1)))
    before = page.evaluate("sse.clientId")
    page.route("**/api/sse?*client_id=*", lambda route: route.fulfill(status=409))
    site.manager.disconnect_client(before)
    page.wait_for_function("before => sse.connected && sse.clientId !== before", arg=before)
    assert site.only().client_id == page.evaluate("sse.clientId")
    errors.clear()  # Chromium's own words on a 409


def test_a_token_goes_with_every_request(serve_app: Serve, context: Any) -> None:
    site = Site()
    site.token = "secret"
    server = serve_app(site.app, retry_ms=1)
    options = "{ token: 'secret', headers: { 'X-Tab': 'seven' }, pingMs: 20 }"
    connected(open_page(context, server, options))
    wait_until(site.pings)
    assert {one.headers.get("authorization") for one in site.seen} == {"Bearer secret"}
    assert {one.headers.get("x-tab") for one in site.seen} == {"seven"}
    assert all("secret" not in str(one.query) for one in site.seen)


def test_a_function_is_asked_for_a_new_token_each_time(serve_app: Serve, context: Any) -> None:
    site = Site()
    site.token = "token 1"
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate(
        """() => {
          let asked = 0;
          start({ shared: "me", token: async () => `token ${++asked}` });
        }"""
    )
    connected(page)
    site.token = "token 2"
    site.manager.disconnect_client(page.evaluate("sse.clientId"))
    page.wait_for_function("() => statuses.length === 4")
    assert [one.headers["authorization"] for one in site.streams()] == [
        "Bearer token 1",
        "Bearer token 2",
    ]


def test_who_may_not_is_told_and_does_not_ask_again(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    site.token = "secret"
    page = open_page(context, serve_app(site.app, retry_ms=1), "{ token: 'wrong' }")
    page.wait_for_function("() => sse.status === 'closed'")
    assert page.evaluate("statuses") == [["closed", 401]]
    assert len(site.streams()) == 1
    errors.clear()  # Chromium's own words on a 401


def test_mistakes_are_told_at_once(serve_app: Serve, context: Any) -> None:
    page = open_page(context, serve_app(Site().app, retry_ms=1), None)
    for mistake in ("start({ channels: ['a,b'] })", "start(), sse.addHandler('x', 5)"):
        told = page.evaluate(f"() => {{ try {{ {mistake} }} catch (e) {{ return e.name }} }}")
        assert told == "TypeError"


def test_the_stream_may_be_another_origins(serve_app: Serve, context: Any) -> None:
    """Header by header: a token, a position, a ping's JSON; and cookies, which are let through."""
    pages = serve_app(Site().app)
    site = Site(cors=CORS(origins=[pages.url], credentials=True))
    site.token = "secret"
    streams = serve_app(site.app, retry_ms=1)
    context.add_cookies([{"name": "who", "value": "ann", "url": streams.url}])
    options = f"to: '{streams.url}/api/sse', credentials: true, token: 'secret'"
    page = connected(open_page(context, pages, f"{{ {options} }}"))
    site.send(1)
    numbers(page, 1)
    site.manager.disconnect_client(page.evaluate("sse.clientId"))
    wait_until(lambda: len(site.streams()) == 2)
    site.send(2)
    assert numbers(page, 2) == [1, 2]
    assert page.evaluate("sse.ping()") is True
    assert "last-event-id" in site.streams()[1].headers
    assert {one.headers.get("cookie") for one in site.seen} == {"who=ann"}
