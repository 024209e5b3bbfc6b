"""The browser's script in Chromium: handlers, coming back, liveness.

What it makes of other answers than a stream is in ``test_client_answers``, what several tabs do
together in ``test_client_tabs``, the parser in ``test_client_parser``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from h3py import SSEEvent
from h3py.testing import ManualClock
from tests.browser.client_site import Serve, Site, connected, numbers, open_page
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


def test_handlers_by_name_and_for_all(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate(
        """() => {
          window.calls = [];
          start();
          const note = (name) => (event) => calls.push([name, event.type, event.data]);
          sse.addHandler("price", note("first"));
          window.removed = note("second");
          sse.addHandler("price", removed);
          sse.addHandler("other", note("other"));
          window.stop = sse.addHandler("*", note("all"));
        }"""
    )
    connected(page)
    site.manager.send_to_channel("news", "price", {"eur": 1})
    site.manager.send_to_channel("news", "other")
    page.wait_for_function("() => got.length === 2")
    page.evaluate("calls.splice(0, 1)")  # the greeting: "*" is for all of them
    assert page.evaluate("calls") == [
        ["first", "price", '{"eur":1}'],
        ["second", "price", '{"eur":1}'],
        ["all", "price", '{"eur":1}'],
        ["other", "other", ""],
        ["all", "other", ""],
    ]
    page.evaluate("calls.length = 0, sse.removeHandler('price', removed), stop()")
    site.manager.send_to_channel("news", "price", "2")
    page.wait_for_function("() => got.length === 3")
    assert page.evaluate("calls") == [["first", "price", "2"]]


def test_an_event_has_name_data_id_and_json(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate("() => { start(); sse.addHandler('x', (event) => { window.heard = event; }); }")
    connected(page)
    site.manager.send_to_channel("news", "x", {"text": "“naïve” 古池や\n", "n": [1, None]})
    page.wait_for_function("() => window.heard")
    assert page.evaluate("heard.json()") == {"text": "“naïve” 古池や\n", "n": [1, None]}
    assert page.evaluate("heard.type") == "x"
    assert page.evaluate("heard.id === sse.lastEventId && heard.id.length > 0")


def test_a_handler_that_fails_harms_no_other(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate(
        """() => {
          start();
          window.after = 0;
          sse.addHandler("number", () => { throw new Error("one handler's trouble"); });
          sse.addHandler("number", () => { after += 1; });
        }"""
    )
    connected(page)
    site.send(1, 2)
    assert numbers(page, 2) == [1, 2]
    assert page.evaluate("after") == 2
    assert page.evaluate("statuses") == ["open"]
    assert len(errors) == 2
    assert all("one handler's trouble" in error for error in errors)
    errors.clear()


def test_handlers_may_change_while_they_are_called(serve_app: Serve, context: Any) -> None:
    """As the DOM does: what is removed is not called any more, what is added comes next time."""
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate(
        """() => {
          start();
          window.calls = [];
          const second = () => calls.push("second");
          const third = () => calls.push("third");
          sse.addHandler("number", () => {
            sse.removeHandler("number", second);
            sse.addHandler("number", third);
          });
          sse.addHandler("number", second);
        }"""
    )
    connected(page)
    site.send(1)
    numbers(page, 1)
    assert page.evaluate("calls") == []
    site.send(2)
    numbers(page, 2)
    assert page.evaluate("calls") == ["third"]


def test_any_text_arrives_as_it_was_sent(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = connected(open_page(context, serve_app(site.app, retry_ms=1)))
    large = "0123456789abcdefgh…\n" * 50_000
    texts = [
        "one\ntwo\n\nfour\n",
        "  spaces stay \t",
        "naïve 古池や 👩‍👩‍👧‍👦 שלום U+2028:\u2028.",
        ": data: not a field",
        "\ufeffnot a BOM",
        "",
        large,
    ]
    for text in texts:
        site.manager.send_to_channel("news", "текст", text)
    page.wait_for_function("count => got.length === count", arg=len(texts))
    assert page.evaluate("got.map(([type, data]) => data)") == texts
    assert {event[0] for event in page.evaluate("got")} == {"текст"}
    assert len({event[2] for event in page.evaluate("got")}) == len(texts)


def test_after_a_cut_it_gets_exactly_what_it_missed(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = connected(open_page(context, serve_app(site.app, retry_ms=1)))
    client = site.only().client_id
    site.send(1, 2)
    numbers(page, 2)
    last = page.evaluate("sse.lastEventId")
    with site.held():
        assert site.manager.disconnect_client(client)
        page.wait_for_function("() => !sse.connected")
        wait_until(lambda: len(site.streams()) == 2)
        site.send(3, 4, 5)
        assert page.evaluate("sse.connected") is False
    assert numbers(page, 5) == [1, 2, 3, 4, 5]
    site.send(6)
    assert numbers(page, 6) == [1, 2, 3, 4, 5, 6]
    assert page.evaluate("statuses") == ["open", "waiting", "connecting", "open"]
    asked = site.streams()[1]
    assert asked.headers["last-event-id"] == last
    # The stream keeps its name: what is sent to this client still finds it.
    assert asked.query["client_id"] == client == page.evaluate("sse.clientId")
    assert site.manager.send_to_client(client, "direct", "to you")
    page.wait_for_function("() => got.some(([type]) => type === 'direct')")


def test_many_cuts_lose_nothing_and_double_nothing(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = connected(open_page(context, serve_app(site.app, retry_ms=1)))
    for number in range(0, 400, 4):
        site.send(number, number + 1)
        if number % 20 == 0:
            site.manager.disconnect_client(page.evaluate("sse.clientId"))
        site.send(number + 2, number + 3)
    assert numbers(page, 399) == list(range(400))


def test_a_loss_is_told(serve_app: Serve, context: Any) -> None:
    site = Site()
    server = serve_app(site.app, retry_ms=1)
    page = connected(open_page(context, server, "{ lastEventId: 'nonsense' }"))
    page.wait_for_function("() => control.some(([type]) => type === 'h3py:reset')")
    site.send(1)
    assert numbers(page, 1) == [1]
    told = {kind: json.loads(data) for kind, data, _ in page.evaluate("control")}
    assert {"h3py:hello", "h3py:reset"} == set(told)
    assert "reason" in told["h3py:reset"]


def test_a_page_may_begin_after_an_event_it_knows(serve_app: Serve, context: Any) -> None:
    site = Site()
    server = serve_app(site.app, retry_ms=1)
    first = connected(open_page(context, server))
    site.send(1, 2, 3)
    numbers(first, 3)
    known = first.evaluate("got[0][2]")
    options = json.dumps({"lastEventId": known, "shared": False})
    page = connected(open_page(context, server, options))
    assert numbers(page, 3) == [2, 3]


def test_close_ends_the_stream_and_calls_nobody(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = connected(open_page(context, serve_app(site.app, retry_ms=1)))
    page.evaluate("sse.close(), sse.close()")
    assert page.evaluate("[sse.status, sse.connected, sse.leader]") == ["closed", False, False]
    assert page.evaluate("statuses") == ["open", "closed"]
    wait_until(lambda: site.ended)
    assert [reason for _, reason in site.ended] == ["client_closed"]
    assert page.evaluate("sse.ping()") is False


def test_closing_in_a_handler_holds_back_the_rest(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate("() => { start(); sse.addHandler('number', () => sse.close()); }")
    connected(page)
    with site.held():  # all three come in one piece, as a replay
        site.manager.disconnect_client(page.evaluate("sse.clientId"))
        wait_until(lambda: len(site.streams()) == 2)
        site.send(1, 2, 3)
    page.wait_for_function("() => sse.status === 'closed'")
    wait_until(lambda: not site.manager.get_connections())
    assert page.evaluate("got") == []  # "number" comes before "*", which is not asked any more


def wait_for_ping(site: Site) -> None:
    """Wait for a ping that began after now; two, for the first may have been on its way."""
    before = site.pings()
    wait_until(lambda: site.pings() > before + 1)


def test_pings_keep_a_lease_and_their_absence_ends_it(serve_app: Serve, context: Any) -> None:
    clock = ManualClock()
    site = Site(lease_s=10.0, clock=clock)
    server = serve_app(site.app, retry_ms=1)
    options = "{{ pingMs: {}, shared: false }}"
    page = connected(open_page(context, server, options.format(20)))
    alive = site.only().client_id
    for _ in range(3):
        clock.advance(8)
        wait_for_ping(site)
    silent = connected(open_page(context, server, options.format(0)))
    dead = silent.evaluate("sse.clientId")
    clock.advance(8)
    wait_for_ping(site)
    clock.advance(8)
    wait_until(lambda: site.ended)
    assert site.ended[0] == (dead, "lease_expired")
    assert (alive, "lease_expired") not in site.ended
    assert page.evaluate("statuses") == ["open"]
    silent.wait_for_function("() => statuses.length >= 4")
    assert silent.evaluate("statuses") == ["open", "waiting", "connecting", "open"]


def test_it_pings_as_often_as_the_server_asks(serve_app: Serve, context: Any) -> None:
    site = Site(lease_s=0.08, clock=ManualClock())  # a ping four times in a lease
    connected(open_page(context, serve_app(site.app, retry_ms=1)))
    wait_until(lambda: site.pings() >= 3)


def test_it_pings_only_if_asked(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate(
        "() => { window.timers = []; window.setInterval = (_, ms) => timers.push(ms); start(); }"
    )
    connected(page)
    assert page.evaluate("timers") == []
    assert page.evaluate("sse.ping()") is True
    assert site.pings() == 1


def test_what_arrives_makes_up_for_late_timers(serve_app: Serve, context: Any) -> None:
    """A hidden tab's timers may come once a minute: here they never come."""
    site = Site(lease_s=0.004, clock=ManualClock())
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    page.evaluate("() => { window.setInterval = () => 0; start(); }")
    connected(page)

    def pinged() -> int:
        site.send(1)
        page.evaluate("1")
        return site.pings()

    wait_until(pinged)


def test_a_ping_that_finds_no_stream_connects_again(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    """The server has given a stream up and its end got lost on the way."""
    site = Site()
    server = serve_app(site.app, retry_ms=1)
    page = open_page(context, server, None)
    page.route("**/api/sse/ping", lambda route: route.fulfill(status=404))
    page.evaluate("start({ pingMs: 20 })")
    connected(page)
    site.send(1)
    page.wait_for_function("() => statuses.length >= 3")
    page.unroute("**/api/sse/ping")
    assert page.evaluate("statuses.slice(0, 3)") == ["open", "connecting", "open"]
    site.send(2)
    assert numbers(page, 2) == [1, 2]
    errors.clear()  # Chromium's own words on a 404


def test_a_late_answer_about_the_connection_before_is_no_news(
    serve_app: Serve, context: Any, errors: list[str]
) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), None)
    held: list[Any] = []

    def hold(route: Any) -> None:
        if len(site.streams()) == 1:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/sse/ping", hold)
    page.evaluate("start({ pingMs: 20 })")
    connected(page)
    with page.expect_request("**/ping"):
        pass
    site.manager.disconnect_client(page.evaluate("sse.clientId"))
    page.wait_for_function("() => statuses.length === 4 && sse.connected")
    assert held
    for route in held:
        route.fulfill(status=404)
    page.wait_for_function("() => sse.ping()")
    assert page.evaluate("statuses") == ["open", "waiting", "connecting", "open"]
    errors.clear()  # Chromium's own words on a 404


def test_silence_that_is_too_long_connects_again(serve_app: Serve, context: Any) -> None:
    site = Site()
    page = open_page(context, serve_app(site.app, retry_ms=1), "{ silenceMs: 50 }")
    page.wait_for_function("() => statuses.filter((status) => status === 'open').length >= 3")
    assert page.evaluate("statuses.slice(0, 3)") == ["open", "connecting", "open"]


@pytest.mark.parametrize("id_", ["три", "naïve", "a b", "\U0001f388"])
def test_any_id_goes_back_as_it_came(serve_app: Serve, context: Any, id_: str) -> None:
    """The bytes of its UTF-8, as EventSource sends them."""
    site = Site()

    @site.app.get("/own")
    def own(event: Any) -> Any:
        site.allow(event)
        yield SSEEvent("x", id=id_, retry=1)

    page = open_page(context, serve_app(site.app, retry_ms=1), "{ to: '/own', channels: [] }")
    wait_until(lambda: len(site.seen) >= 2)
    page.evaluate("sse.close()")
    sent = site.seen[1].headers["last-event-id"]
    assert sent.encode("latin-1").decode() == id_
