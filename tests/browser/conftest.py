"""Chromium, headless, driven through Playwright: one process for all tests, a profile for each.

A page's errors are collected, its own and those of its requests; a test that does not expect any
fails with them. Without Chromium these tests are skipped, which in CI is a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.client_site import Serve
from tests.browser.tabs import Tabs
from tests.support.wait import DEADLINE_S, SCALE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def errors() -> list[str]:
    """What the test's pages complained of; empty at its end, unless the test empties it."""
    return []


@pytest.fixture
def context(chromium: Any, errors: list[str]) -> Iterator[Any]:
    """A fresh profile; a test may open several windows in it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(DEADLINE_S * SCALE * 1000)
    context.on("page", lambda page: watch(page, errors))
    yield context
    context.close()
    assert errors == []


@pytest.fixture
def page(context: Any) -> Any:
    """A window."""
    return context.new_page()


def watch(page: Any, errors: list[str]) -> None:
    """Collect what goes wrong on a page."""
    page.on("pageerror", lambda error: errors.append(f"exception: {error}"))
    page.on(
        "console",
        lambda said: errors.append(f"console: {said.text}") if said.type == "error" else None,
    )


@pytest.fixture
def tabs(serve_app: Serve, context: Any) -> Tabs:
    return Tabs(serve_app, context)
