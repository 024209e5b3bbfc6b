"""What browser tests of the demo share: the program, and what they do with its page."""

from __future__ import annotations

from typing import Any

from tests.support.process import Program


def start_demo(backend: str, port: int = 0) -> Program:
    return Program.python("-m", "h3py", "demo", "--backend", backend, "--port", str(port))


def url_of(demo: Program) -> str:
    return demo.wait_for_line(r"^Serving on (http://\S+) ")[1]


def wait_for_log(page: Any, pattern: str) -> str:
    """The first line of the page's log that has ``pattern``."""
    found = page.wait_for_function(
        "pattern => [...log.children].map((line) => line.textContent)"
        ".find((text) => new RegExp(pattern).test(text))",
        arg=pattern,
    )
    return str(found.json_value())


def wait_for_text(page: Any, selector: str, pattern: str) -> str:
    """The text of an element, once it has ``pattern``."""
    page.wait_for_function(
        "([selector, pattern]) => new RegExp(pattern).test("
        "document.querySelector(selector)?.textContent ?? '')",
        arg=[selector, pattern],
    )
    return str(page.locator(selector).text_content())


def enter(page: Any, url: str, name: str) -> Any:
    """Open the demo in a window, with a name."""
    page.goto(url)
    wait_for_text(page, "#here", "window")
    page.locator("#name").fill(name)
    page.locator("#name").blur()
    wait_for_text(page, "[data-room=lobby] .names", f"(^|, ){name}(,|$)")
    return page


def say(page: Any, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")
    page.wait_for_function(
        "text => [...messages.querySelectorAll('.text')].some((one) => one.textContent === text)",
        arg=text,
    )


def said(page: Any) -> list[str]:
    """What the page shows of what was said, but for the welcome."""
    shown = page.evaluate(
        "[...document.querySelectorAll('#messages .said')]"
        ".map((one) => ['b', '.text'].map((part) => one.querySelector(part).textContent))"
    )
    return [text for name, text in shown if name != "h3py"]


def show_something(page: Any) -> None:
    """Something in every panel, for who looks at it."""
    wait_for_text(page, "#here", "window")
    say(page, "Is everybody here? 🌸")
    for sample in ("payment", "maintenance", "system_health"):
        page.locator("#sample").select_option(sample)
        page.locator("#notify .main").click()
    page.wait_for_function("() => feed.childElementCount === 3")
    page.wait_for_function("() => pulses.childElementCount > 3")
