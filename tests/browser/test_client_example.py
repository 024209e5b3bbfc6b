"""``examples/sse_client``: it runs, shows what it says, and ends as every example does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.process import ROOT, Program

pytestmark = [pytest.mark.browser, pytest.mark.process]

EXAMPLE = ROOT / "examples" / "sse_client"


@pytest.fixture
def program(backend: str) -> Iterator[Program]:
    with Program.python(EXAMPLE / "app.py", "--backend", backend, "--port", "0") as program:
        yield program


@pytest.fixture
def url(program: Program) -> str:
    return program.wait_for_line(r"^open (\S+/)$")[1]


def opened(context: Any, url: str) -> Any:
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => sse.connected && connections.textContent === '1'")
    return page


def notes(page: Any, text: str) -> None:
    page.wait_for_function("text => notes.textContent.includes(text)", arg=text)


def say(page: Any, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Say it").click()


def test_two_windows_have_one_stream_and_the_same_board(url: str, context: Any) -> None:
    first, second = opened(context, url), opened(context, url)
    assert first.locator("#part").text_content() == "has the connection"
    assert second.locator("#part").text_content() == "follows another tab"
    say(first, "naïve 古池や <b>")
    for page in (first, second):
        notes(page, "naïve 古池や <b>")
    first.close()
    second.wait_for_function("() => part.textContent === 'has the connection' && sse.connected")
    say(second, "still here")
    notes(second, "still here")
    assert second.locator("#notes li").count() == 2


def test_a_cut_connection_comes_back_with_what_was_missed(url: str, context: Any) -> None:
    page = opened(context, url)
    page.get_by_role("button", name="Cut").click()
    notes(page, "written while the connection was cut")
    page.wait_for_function("() => document.getElementById('status').textContent === 'connected'")
    assert page.locator("#notes li").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_wide_and_narrow_windows(url: str, context: Any, scheme: str) -> None:
    page = opened(context, url)
    page.emulate_media(color_scheme=scheme)
    say(page, "w" * 200)
    notes(page, "w" * 200)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 27)"
    assert dark is (scheme == "dark")


def test_it_is_short_says_how_to_run_it_and_ends(program: Program, url: str) -> None:
    text = (EXAMPLE / "app.py").read_text()
    assert len(text.splitlines()) <= 80
    assert "python examples/sse_client/app.py" in text.split('"""')[1]
    program.send_signal(signal.SIGINT)
    assert program.wait() == 0
    assert "Traceback" not in program.output
