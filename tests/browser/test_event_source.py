"""Chromium's EventSource against applications made for the test: what arrives is what was sent."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3, H3Event, SSEEvent
from tests.support.wait import DEADLINE_S, SCALE, wait_until

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><link rel="icon" href="data:,"><script>
  const got = [];
  const states = [];
  const source = new EventSource("/stream");
  source.onopen = () => states.push("open");
  source.onerror = () => states.push(source.readyState === 2 ? "closed" : "reconnecting");
  for (const type of ["message", "tick", "done"]) {
    source.addEventListener(type, (event) => got.push([event.type, event.data, event.lastEventId]));
  }
  source.addEventListener("done", () => source.close());
</script>"""

Serve = Callable[..., Any]


def app_with(stream: Callable[[H3Event], Any]) -> H3:
    app = H3()
    app.get("/", lambda event: event.send_html(PAGE))
    app.get("/stream", stream)
    return app


def received(page: Any, count: int) -> list[Any]:
    """What the page has got, once it is so many events."""
    page.wait_for_function("count => got.length >= count", arg=count)
    return page.evaluate("got")


def test_names_ids_lines_and_scripts_arrive(serve_app: Serve, page: Any) -> None:
    def stream(event: H3Event) -> Any:
        yield "no name"
        yield SSEEvent("named", event="tick", id="1")
        yield SSEEvent("one\ntwo\r\nthree\rfour\n", event="tick")
        yield SSEEvent("", event="tick", id="2")
        yield SSEEvent("  spaces stay \t", event="tick")
        yield SSEEvent("naïve 古池や 👩‍👩‍👧‍👦 שלום U+2028:\u2028.", event="tick", id="три")
        yield SSEEvent(": data: not a field", event="tick", id="")
        yield SSEEvent.json({"text": "“quoted”\n", "n": [1, 2.5, None]}, event="tick")
        yield SSEEvent(comment="nobody sees this")
        yield SSEEvent("end", event="done")

    server = serve_app(app_with(stream))
    page.goto(server.url)
    assert received(page, 9) == [
        ["message", "no name", ""],
        ["tick", "named", "1"],
        ["tick", "one\ntwo\nthree\nfour\n", "1"],
        ["tick", "", "2"],
        ["tick", "  spaces stay \t", "2"],
        ["tick", "naïve 古池や 👩‍👩‍👧‍👦 שלום U+2028:\u2028.", "три"],
        ["tick", ": data: not a field", ""],
        ["tick", '{"text":"“quoted”\\n","n":[1,2.5,null]}', ""],
        ["done", "end", ""],
    ]


def test_a_large_event_arrives_whole(serve_app: Serve, page: Any) -> None:
    large = "0123456789abcdefgh…\n" * 50_000

    def stream(event: H3Event) -> Any:
        yield SSEEvent(large, event="tick")
        yield SSEEvent("", event="done")

    server = serve_app(app_with(stream))
    page.goto(server.url)
    page.wait_for_function("() => got.length >= 2")
    assert page.evaluate("got[0][1].length") == len(large)
    assert page.evaluate("text => got[0][1] === text", large)


@pytest.mark.parametrize("way", ["generator", "handler", "parked"])
def test_it_comes_back_with_the_last_id_it_saw(serve_app: Serve, page: Any, way: str) -> None:
    asked: list[str | None] = []
    parked: queue.Queue[Any] = queue.Queue()

    def stream(event: H3Event) -> Any:
        asked.append(event.headers.get("last-event-id"))
        number = len(asked)
        if number == 3:
            return finish(event)
        events = [
            SSEEvent("seen", event="tick", id=f"id {number}", retry=1),
            SSEEvent("seen too", event="tick"),
        ]
        if way == "generator":
            return one_by_one(events)
        if way == "handler":
            with event.start_sse() as stream:
                stream.send_events(events)
            return None
        start = event.start_sse()
        start.park()
        for item in events:
            start.send_event_nowait(item)
        parked.put(start)
        return None

    server = serve_app(app_with(stream))
    page.goto(server.url)
    if way == "parked":
        for number in (1, 2):
            received(page, 2 * number)
            parked.get(timeout=DEADLINE_S * SCALE).close()
    assert received(page, 5) == [
        ["tick", "seen", "id 1"],
        ["tick", "seen too", "id 1"],
        ["tick", "seen", "id 2"],
        ["tick", "seen too", "id 2"],
        ["done", "", "id 2"],
    ]
    assert asked == [None, "id 1", "id 2"]
    assert page.evaluate("states") == ["open", "reconnecting", "open", "reconnecting", "open"]


def finish(event: H3Event) -> None:
    with event.start_sse() as stream:
        stream.send_event(SSEEvent("", event="done"))


def test_204_tells_it_not_to_come_back(serve_app: Serve, page: Any, errors: list[str]) -> None:
    asked = []

    def stream(event: H3Event) -> Any:
        asked.append(1)
        if len(asked) > 1:
            return None  # 204
        return one_by_one([SSEEvent("only", event="tick", retry=1)])

    server = serve_app(app_with(stream))
    page.goto(server.url)
    page.wait_for_function("() => states.includes('closed')")
    assert page.evaluate("got") == [["tick", "only", ""]]
    assert len(asked) == 2
    errors.clear()  # Chromium complains of the 204 itself


def one_by_one(events: list[SSEEvent]) -> Any:
    yield from events


def test_leaving_the_page_is_noticed_at_once(serve_app: Serve, page: Any) -> None:
    reasons: list[str] = []

    def stream(event: H3Event) -> None:
        with event.start_sse() as stream:
            stream.on_close(lambda reason: reasons.append(reason.value))
            stream.send_event(SSEEvent("here", event="tick"))
            stream.wait(600)  # far longer than the test may take

    server = serve_app(app_with(stream))
    page.goto(server.url)
    received(page, 1)
    page.close()
    assert wait_until(lambda: reasons) == ["client_closed"]
