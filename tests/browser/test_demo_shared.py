"""The demo's shared connection in Chromium: rooms, windows that share, a cut, notifications, and a
thousand streams of a helper process.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import watch
from tests.browser.demo_kit import enter, said, say, start_demo, url_of, wait_for_log, wait_for_text
from tests.support.process import Program
from tests.support.wait import DEADLINE_S, SCALE, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.process]

EVIL = "<img src=x onerror=\"document.title='forged'\"><b>bold</b>"


@pytest.fixture
def demo(backend: str) -> Iterator[Program]:
    with start_demo(backend) as program:
        yield program


@pytest.fixture
def ada(demo: Program, page: Any) -> Any:
    """A window of somebody called Ada."""
    return enter(page, url_of(demo), "Ada")


@pytest.fixture
def visitor(chromium: Any, demo: Program, errors: list[str]) -> Iterator[Callable[[str], Any]]:
    """``visitor("Grace")`` opens the demo in another browser."""
    contexts = []

    def visitor(name: str) -> Any:
        context = chromium.new_context()
        contexts.append(context)
        context.set_default_timeout(DEADLINE_S * SCALE * 1000)
        context.on("page", lambda page: watch(page, errors))
        return enter(context.new_page(), url_of(demo), name)

    yield visitor
    for context in contexts:
        context.close()


def helpers_of(demo: Program) -> list[int]:
    """The process ids of the demo's children."""
    found = [path.read_text().split() for path in Path(f"/proc/{demo.pid}/task").glob("*/children")]
    return [int(pid) for pids in found for pid in pids]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# --- rooms --------------------------------------------------------------------------------------


def test_people_talk_in_a_room(ada: Any, visitor: Callable[[str], Any]) -> None:
    say(ada, "first")
    grace = visitor("Grace")
    assert said(grace) == ["first"], "what was said before is not there"
    wait_for_text(ada, "[data-room=lobby] .names", "^Ada, Grace$")
    wait_for_text(ada, "#here", "2 windows, 2 connections")
    say(grace, "second")
    for page in (ada, grace):
        page.wait_for_function("() => document.querySelectorAll('#messages .said').length === 4")
        assert said(page) == ["first", "second"]


def test_a_room_is_joined_and_left(ada: Any, visitor: Callable[[str], Any]) -> None:
    grace = visitor("Grace")
    grace.locator("[data-room=kitchen]").get_by_role("button", name="Join kitchen").click()
    wait_for_text(ada, "[data-room=kitchen] .names", "^Grace$")
    say(grace, "tea?")
    grace.locator("[data-room=lobby]").get_by_role("button", name="Leave lobby").click()
    wait_for_text(ada, "[data-room=lobby] .names", "^Ada$")
    say(ada, "who is here?")
    assert said(ada) == ["who is here?"], "another room's message came"
    ada.locator("[data-room=kitchen] .room").click()
    ada.wait_for_function("() => messages.textContent.includes('tea?')")
    wait_for_text(ada, "[data-room=kitchen] .names", "^Ada, Grace$|^Grace, Ada$")


def test_who_closes_the_window_has_left(ada: Any, visitor: Callable[[str], Any]) -> None:
    grace = visitor("Grace")
    wait_for_text(ada, "[data-room=lobby] .names", "^Ada, Grace$")
    grace.close()
    wait_for_text(ada, "[data-room=lobby] .names", "^Ada$")
    wait_for_text(ada, "#messages", "Grace has left")


def test_what_people_write_is_text(ada: Any, visitor: Callable[[str], Any]) -> None:
    grace = visitor("Grace")
    ada.locator("#name").fill("<i>Ada</i>")
    ada.locator("#name").blur()
    wait_for_text(grace, "[data-room=lobby] .names", "<i>Ada</i>")
    say(ada, EVIL)
    wait_for_text(grace, "#messages .said:last-child .text", "<b>bold</b>")
    assert said(grace) == [EVIL]
    ada.locator("#said").fill(EVIL)
    ada.locator("#notify .main").click()
    wait_for_text(grace, "#feed", "<b>bold</b>")
    for page in (ada, grace):
        assert page.locator("#messages img, #messages i, #feed img, #rooms i").count() == 0
        assert page.title() == "h3py: live streams"


def test_rooms_survive_the_servers_death(backend: str, page: Any, errors: list[str]) -> None:
    with start_demo(backend) as first:
        url = url_of(first)
        enter(page, url, "Ada")
        for text in ("one", "two", "three"):
            say(page, text)
        first.send_signal(signal.SIGKILL)
        first.wait()
    with start_demo(backend, int(url.rpartition(":")[2])) as second:
        url_of(second)
        wait_for_log(page, "shared.*history was lost")
        wait_for_text(page, "[data-room=lobby] .names", "^Ada$")
        say(page, "four")
        assert said(page) == ["four"], "its numbers begin anew"
        page.close()
    assert {error for error in errors if "net::ERR" not in error} == set()
    errors.clear()


def test_a_terminal_may_say_something(ada: Any) -> None:
    run_line(ada, "Say something there")
    ada.wait_for_function("() => messages.textContent.includes('hello')")
    assert said(ada) == ["hello"]


# --- windows that share ------------------------------------------------------------------------


def test_windows_of_a_browser_share_one_connection(ada: Any, context: Any, demo: Program) -> None:
    other = context.new_page()
    enter(other, url_of(demo), "Also Ada")
    for page in (ada, other):
        wait_for_text(page, "#here", "2 windows, 1 connection")
        wait_for_text(page, "#audience", "1 stream,")
    wait_for_text(ada, "#sharing", "This window holds")
    wait_for_text(other, "#sharing", "Another window holds")
    say(ada, "for both")
    other.wait_for_function("() => messages.textContent.includes('for both')")
    ada.close()
    wait_for_text(other, "#sharing", "This window holds")
    wait_for_text(other, "#here", "1 window, 1 connection")
    say(other, "alone")
    assert said(other) == ["for both", "alone"]


# --- a cut ----------------------------------------------------------------------------------------


def test_what_was_missed_in_a_cut_is_replayed(ada: Any, visitor: Callable[[str], Any]) -> None:
    grace = visitor("Grace")
    ada.wait_for_function("() => pulses.childElementCount > 4")
    ada.locator("#cut").click()
    wait_for_text(ada, "#verdict", "^Away for .* missed")
    say(grace, "are you there?")
    verdict = wait_for_text(ada, "#verdict", r"in order, each of them once\.$")
    missed, replayed = map(int, re.findall(r"\d+", verdict))
    assert missed == replayed > 0
    assert ada.locator("#pulses .replayed").count() > 0
    for name in ("lost", "twice"):
        assert ada.locator(f"#replay-{name}").text_content() == "0"
    ada.wait_for_function("() => messages.textContent.includes('are you there?')")
    assert said(ada) == ["are you there?"]
    wait_for_log(ada, r"shared.*back after event \d")
    # It goes on: what comes now is live.
    ada.wait_for_function("() => pulses.lastElementChild.className === 'live'")
    wait_for_text(grace, "[data-room=lobby] .names", "^Ada, Grace$")


# --- notifications ------------------------------------------------------------------------------


def test_a_notification_comes_by_the_webhook(ada: Any, visitor: Callable[[str], Any]) -> None:
    grace = visitor("Grace")
    ada.locator("#sample").select_option("system_health")
    ada.locator("#said").fill("The cat sits on it.")
    ada.locator("#notify .main").click()
    for page in (ada, grace):
        wait_for_text(page, "#feed", "database: down.*The cat sits on it")
        shown = page.locator("#feed .notification")
        assert shown.count() == 1
        assert shown.get_attribute("data-severity") == "critical"
    assert ada.locator("#said").input_value() == ""


def test_progress_is_one_entry_that_moves(ada: Any) -> None:
    ada.evaluate(
        "() => { window.seen = []; new MutationObserver(() => {"
        " const bar = feed.querySelector('progress'); if (bar) seen.push(bar.value); })"
        ".observe(feed, { childList: true }); }"
    )
    ada.locator("#export").click()
    ada.wait_for_function("() => feed.querySelector('progress')?.value === 100")
    seen = ada.evaluate("seen")
    assert seen == sorted(seen)
    assert len(set(seen)) > 5, "it did not move"
    assert ada.locator("#feed .notification").count() == 1


def test_the_line_for_a_terminal_posts_one(ada: Any) -> None:
    ada.locator("#sample").select_option("payment_failed")
    line = wait_for_text(ada, "#commands li:last-child code", "payment.*failed")
    assert "X-Signature: t=" in line
    assert run_line(ada, "Post a notification") == b'{"streams":1}'
    wait_for_text(ada, "#feed", "Payment failed: 9.90.EUR")


def run_line(page: Any, what: str) -> bytes:
    """Run a line that the page shows, as somebody would who copies it."""
    line = page.locator("#commands li", has_text=what).locator("code").text_content()
    command, *arguments = shlex.split(line)
    assert command == "curl"
    done = subprocess.run(
        ["curl", "-sS", "--fail", *arguments], capture_output=True, timeout=60, check=True
    )
    return done.stdout


# --- a thousand streams ---------------------------------------------------------------------------


def test_a_thousand_streams_open_and_deliver(ada: Any, demo: Program) -> None:
    before = canvas_colours(ada)
    ada.locator("#crowd-rates").get_by_label("10", exact=True).check()
    ada.locator("#crowd-start").click()
    ada.wait_for_function("() => document.getElementById('crowd-open').textContent === '1,000'")
    ada.wait_for_function(
        "() => Number(document.getElementById('crowd-rate').textContent.replace(',', '')) > 1000"
    )
    wait_for_text(ada, "#crowd-p50", r"^[\d.]+ ms$")
    ada.wait_for_function("before => " + COLOURS + " > before", arg=before)
    (helper,) = helpers_of(demo)
    ada.locator("#crowd-stop").click()
    wait_for_text(ada, "#crowd-state .word", "^stopped$")
    wait_until(lambda: is_gone(helper))
    assert helpers_of(demo) == []
    assert ada.locator("#crowd-start").is_enabled()
    assert "/crowd/stream" not in demo.output, "a thousand lines of log"


COLOURS = """(() => {
  const canvas = document.getElementById("crowd-chart");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let coloured = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] > 40 && Math.abs(data[at] - data[at + 1]) > 60) coloured += 1;
  }
  return coloured;
})()"""


def canvas_colours(page: Any) -> int:
    """How many points of the chart have a colour."""
    return int(page.evaluate(COLOURS))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_helper_ends_with_the_demo(
    ada: Any, demo: Program, number: signal.Signals, errors: list[str]
) -> None:
    ada.locator("#crowd-start").click()
    ada.wait_for_function("() => document.getElementById('crowd-open').textContent !== '0'")
    (helper,) = helpers_of(demo)
    demo.send_signal(number)
    assert demo.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    wait_until(lambda: is_gone(helper) or is_orphan_zombie(helper))
    assert "Traceback" not in demo.output
    ada.close()
    errors.clear()  # that nobody answers any more


def is_orphan_zombie(pid: int) -> bool:
    """Whether it has ended, and only nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
