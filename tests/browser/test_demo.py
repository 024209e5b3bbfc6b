"""The demo in Chromium: streams move, come back where they were, and everybody can read them."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.demo_kit import show_something, start_demo, url_of, wait_for_log
from tests.support.process import Program
from tests.support.wait import DEADLINE_S, SCALE

pytestmark = [pytest.mark.browser, pytest.mark.process]

STREAMS = ("counter", "tokens", "text", "clock")
WIDTHS = (1280, 820, 390)

# Every number the counter shows, from the moment the page is loaded.
KEEP_COUNTS = """() => {
  window.counts = [];
  new MutationObserver(() => counts.push(Number(count.textContent.replaceAll(",", ""))))
    .observe(count, { childList: true });
}"""

# Text whose colour is too close to what is behind it (WCAG 2.2, 1.4.3: 4.5, or 3 if it is large).
# Disabled controls are exempt there.
TOO_FAINT = """() => {
  const channel = (value) =>
    (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let up = element; up; up = up.parentElement) {
      const colour = rgba(getComputedStyle(up).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.disabled || !element.checkVisibility()) continue;
    if (element.closest(".skip")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push([element.textContent.trim().slice(0, 30), ratio]);
  }
  return faint;
}"""


@pytest.fixture
def demo(backend: str) -> Iterator[Program]:
    with start_demo(backend) as program:
        yield program


@pytest.fixture
def opened(demo: Program, page: Any) -> Any:
    """The demo's page, with all of its streams open."""
    page.goto(url_of(demo))
    page.evaluate(KEEP_COUNTS)
    for name in STREAMS:
        wait_for_state(page, name, "open|ended")
    return page


def card(page: Any, name: str) -> Any:
    return page.locator(f"[data-stream={name}]")


def wait_for_state(page: Any, name: str, states: str) -> None:
    page.wait_for_function(
        "([name, states]) => new RegExp(`^(${states})$`).test("
        "document.querySelector(`[data-stream=${name}] .state`).dataset.state)",
        arg=[name, states],
    )


def press(page: Any, name: str, what: str) -> None:
    card(page, name).locator(f"[data-do={what}]").click()


def counts_up_to(page: Any, more: int) -> list[int]:
    """What the counter has shown, once there are so many more."""
    have = page.evaluate("counts.length")
    page.wait_for_function("length => counts.length >= length", arg=have + more)
    return page.evaluate("counts")


def test_every_stream_moves(opened: Any, backend: str) -> None:
    page = opened
    assert page.locator("#backend").text_content() == backend
    assert len(counts_up_to(page, 3)) >= 3
    wait_for_state(page, "tokens", "ended")
    assert page.locator("#answer").text_content().startswith("Server-sent events are plain text")
    assert page.locator("#answer").text_content().endswith("no library on the client. 🎈")
    # The texts come round again and again; one that has just gone by takes a whole turn.
    page.set_default_timeout(4 * DEADLINE_S * SCALE * 1000)
    page.wait_for_function("() => verse.textContent.includes('Grain of Sand\\nAnd a Heaven')")
    lines = page.evaluate("getComputedStyle(verse).whiteSpace")
    assert lines == "pre-line", "the lines of a verse must show as lines"
    page.wait_for_function("() => greeting.textContent === 'Hello 👋🏽'")
    assert page.locator("#greeting-note").text_content() == "7 characters, 14 bytes of UTF-8"
    page.wait_for_function("() => audience.textContent.includes('1 stream,')")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", page.locator("#time").text_content())


def test_a_dropped_stream_comes_back_after_the_last_id_it_saw(opened: Any) -> None:
    page = opened
    counts_up_to(page, 3)
    press(page, "counter", "drop")
    told = wait_for_log(page, "counter.*back after Last-Event-ID")
    number = int(re.search(r"Last-Event-ID (\d+)", told)[1])
    counts = counts_up_to(page, 3)
    assert number in counts
    assert counts == list(range(counts[0], counts[0] + len(counts))), "a gap, or a duplicate"
    assert card(page, "counter").locator(".opened").text_content() == "2 times"


def test_an_answer_goes_on_in_the_middle_of_a_sentence(opened: Any) -> None:
    page = opened
    page.locator("#question").select_option("2")
    page.wait_for_function("() => answer.textContent.startsWith('Press Reconnect while')")
    press(page, "tokens", "drop")
    wait_for_log(page, "tokens.*back after Last-Event-ID")
    wait_for_state(page, "tokens", "ended")
    answer = page.locator("#answer").text_content()
    assert answer.startswith("Press Reconnect while these words come in. The server drops")
    assert answer.endswith(
        "Nothing is missing, nothing comes twice, and no code of this page had to do it."
    )


def test_a_callback_comes_back_too(opened: Any) -> None:
    press(opened, "text", "drop")
    wait_for_log(opened, "text.*dropped")
    wait_for_log(opened, "text.*(back after|connected).*")
    wait_for_state(opened, "text", "open")
    assert card(opened, "text").locator(".opened").text_content() == "2 times"


def test_the_clock_comes_back_with_the_shared_connection(opened: Any) -> None:
    press(opened, "clock", "drop")
    wait_for_log(opened, "shared.*cut")
    wait_for_log(opened, r"shared.*back after event \d")
    wait_for_state(opened, "clock", "open")
    assert card(opened, "clock").locator(".opened").text_content() == "2 times"


def test_the_clock_can_be_left_and_joined(opened: Any) -> None:
    press(opened, "clock", "stop")
    wait_for_state(opened, "clock", "stopped")
    press(opened, "clock", "start")
    wait_for_state(opened, "clock", "open")
    opened.wait_for_function("() => audience.textContent.includes('1 stream,')")


def test_stop_and_start(opened: Any) -> None:
    page = opened
    press(page, "counter", "stop")
    wait_for_state(page, "counter", "stopped")
    counter = card(page, "counter")
    assert counter.locator("[data-do=stop]").is_disabled()
    assert counter.locator("[data-do=drop]").is_disabled()
    press(page, "counter", "start")
    wait_for_state(page, "counter", "open")
    page.wait_for_function("() => counts.at(-1) === 2 || counts.at(-2) === 2")  # it began anew


def test_a_hidden_tab_lets_go_and_goes_on_where_it_was(opened: Any) -> None:
    page = opened
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    counts_up_to(page, 2)
    page.evaluate(hide, True)
    wait_for_state(page, "counter", "paused")
    page.evaluate(hide, False)
    wait_for_state(page, "counter", "open")
    counts = counts_up_to(page, 3)
    assert counts == list(range(counts[0], counts[0] + len(counts)))


def test_the_wire_is_shown(opened: Any) -> None:
    counter = card(opened, "counter")
    counter.locator(".wire summary").click()
    opened.wait_for_function(
        '() => /^id: (\\d+)\\nevent: count\\ndata: {"count":\\1}$/.test('
        "document.querySelector('[data-stream=counter] .wire pre').textContent)"
    )


def test_the_streams_survive_the_servers_death(backend: str, page: Any, errors: list[str]) -> None:
    with start_demo(backend) as first:
        url = url_of(first)
        page.goto(url)
        page.evaluate(KEEP_COUNTS)
        counts_up_to(page, 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
    wait_for_state(page, "counter", "waiting")
    with start_demo(backend, int(url.rpartition(":")[2])) as second:
        url_of(second)
        wait_for_log(page, "counter.*back after Last-Event-ID")
        counts = counts_up_to(page, 2)
        assert counts == list(range(counts[0], counts[0] + len(counts)))
        wait_for_state(page, "clock", "open")
        page.close()  # before there is no server again
    # That nobody listened for a while is what Chromium complains of, and all it may.
    assert {error for error in errors if "net::ERR" not in error} == set()
    errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(demo: Program, context: Any, scheme: str) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(url_of(demo))
    page.evaluate(KEEP_COUNTS)
    counts_up_to(page, 2)
    page.wait_for_function("() => greeting.textContent !== ''")
    show_something(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(TOO_FAINT) == []
        shot = page.screenshot(full_page=True)
        assert shot.startswith(b"\x89PNG")
        assert len(shot) > 50_000, "an empty page"


def test_controls_have_names_and_what_changes_is_announced(opened: Any) -> None:
    page = opened
    for name in STREAMS:
        for button in card(page, name).get_by_role("button").all():
            label = button.get_attribute("aria-label")
            assert re.fullmatch(rf"(Start|Ask|Stop|Reconnect) {name.capitalize()}", label)
    assert page.get_by_role("combobox", name="Ask").count() == 1
    assert page.get_by_role("log").count() == 3
    unnamed = [
        box.get_attribute("id")
        for box in page.locator("input, select").all()
        if not page.evaluate(
            "id => document.getElementById(id).labels.length", box.get_attribute("id") or "name"
        )
        and not box.get_attribute("aria-label")
    ]
    assert unnamed == []
    assert page.locator("#answer").get_attribute("aria-live") == "polite"
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => h.tagName)")
    assert levels == ["H1"] + ["H2"] + ["H3"] * 4 + ["H2"] + ["H3"] * 6


def test_nothing_comes_from_elsewhere(demo: Program, page: Any) -> None:
    url = url_of(demo)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    wait_for_state(page, "clock", "open")
    assert asked
    assert [one for one in asked if not one.startswith((f"{url}/", "data:"))] == []
