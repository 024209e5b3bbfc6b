"""The React hook of ``examples/sse_client``: its effects, and what they clean up.

It runs with as much of React as it needs (``hooks.js``). With ``H3PY_REACT`` naming a directory
that has ``react.development.js`` and ``react-dom.development.js`` it runs with React itself: the
``umd`` files of React 18, or of a later one whatever defines the globals React and ReactDOM.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.client_site import Serve, Site
from tests.support.process import ROOT
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

REACT = os.environ.get("H3PY_REACT")
HOOK = ROOT / "examples" / "sse_client" / "use_sse.js"
STAND_IN = Path(__file__).with_name("hooks.js")

REAL = """
export const { useEffect, useRef, useState } = React;
export function mount(component, props, strict) {
  const root = ReactDOM.createRoot(document.body.appendChild(document.createElement("div")));
  const Shown = ({ of }) => (component(of), null);
  const render = (given) => {
    const element = React.createElement(Shown, { of: given });
    const whole = strict ? React.createElement(React.StrictMode, null, element) : element;
    ReactDOM.flushSync(() => root.render(whole));
  };
  render(props);
  return { update: render, unmount: () => root.unmount() };
}"""

PAGE = """<!doctype html><link rel="icon" href="data:,"><body>
<script src="/react.development.js"></script><script src="/react-dom.development.js"></script>
<script type="importmap">{ "imports": { "react": "/react.js" } }</script>
<script type="module">
  import { mount } from "react";
  import { useSSE } from "/use_sse.js";
  window.calls = [];
  window.seen = [];
  const Component = ({ url, options, handlers }) => seen.push(useSSE(url, options, handlers));
  // Handlers and options are written in place, as in a component: new ones each time.
  window.props = (name, channels = ["news"], more = {}) => ({
    url: "/api/sse",
    options: { channels, retryMs: 1, ...more },
    handlers: { number: (event) => calls.push(`${name} ${event.data}`) },
  });
  window.show = (given, strict) => (window.shown = mount(Component, given, strict), null);
  window.last = () => seen.at(-1);
</script></body>"""


@pytest.fixture
def site(serve_app: Serve, page: Any) -> Site:
    """A site whose page has the hook, opened in ``page``."""
    site = Site()
    module = REAL if REACT else STAND_IN.read_text()
    files = {"use_sse.js": HOOK.read_text(), "react.js": module}
    for name in ("react.development.js", "react-dom.development.js"):
        files[name] = (Path(REACT) / name).read_text() if REACT else ""
    for name, text in files.items():
        site.app.get(f"/{name}", script(text))
    site.app.get("/hook", lambda event: event.send_html(PAGE))
    server = serve_app(site.app, retry_ms=1)
    page.goto(f"{server.url}/hook")
    page.wait_for_function("() => window.show")
    return site


def script(text: str) -> Any:
    return lambda event: event.send_bytes(text.encode(), content_type="text/javascript")


def open_(page: Any) -> None:
    page.wait_for_function("() => last().connected && last().clientId")


def called(page: Any, count: int) -> list[str]:
    page.wait_for_function("count => calls.length >= count", arg=count)
    return page.evaluate("calls")


def test_a_component_follows_a_stream(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'))")
    open_(page)
    assert page.evaluate("seen[0].status") == "connecting"
    assert page.evaluate("last().clientId") == site.only().client_id
    site.send(1, 2)
    assert called(page, 2) == ["a 1", "a 2"]


def test_rendering_again_keeps_the_stream_and_calls_the_newest_handlers(
    site: Site, page: Any
) -> None:
    page.evaluate("show(props('a', ['news'], { token: () => 'one' }))")
    open_(page)
    site.send(1)
    called(page, 1)
    page.evaluate("shown.update(props('b', ['news'], { token: () => 'two' }))")
    site.send(2)
    assert called(page, 2) == ["a 1", "b 2"]
    assert len(site.streams()) == 1
    # The token is asked for anew, of the newest function.
    site.manager.disconnect_client(site.only().client_id)
    wait_until(lambda: len(site.streams()) == 2)
    assert [one.headers["authorization"] for one in site.streams()] == ["Bearer one", "Bearer two"]


def test_other_options_are_another_stream(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'))")
    open_(page)
    before = site.only().client_id
    page.evaluate("shown.update(props('a', ['other']))")
    wait_until(lambda: site.ended)
    assert site.ended == [(before, "client_closed")]
    wait_until(lambda: site.only().channels == ("other",))
    open_(page)
    assert page.evaluate("last().clientId") == site.only().client_id


def test_unmounting_closes_it(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'))")
    open_(page)
    page.evaluate("shown.unmount()")
    wait_until(lambda: site.ended)
    assert [reason for _, reason in site.ended] == ["client_closed"]
    assert len(site.streams()) == 1
    renderings = page.evaluate("seen.length")
    assert page.evaluate(
        "new Promise((resolve) => setTimeout(resolve)).then(() => seen.length)"
    ) == (renderings)


def test_strict_mode_leaves_one_stream(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'), true)")
    open_(page)
    site.send(1)
    assert called(page, 1) == ["a 1"]
    assert site.only()
    page.evaluate("shown.unmount()")
    wait_until(lambda: not site.manager.get_connections())


def test_names_that_every_object_has_are_no_handlers(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'))")
    open_(page)
    for name in ("constructor", "toString", "__proto__"):
        site.manager.send_to_channel("news", name, "x")
    site.send(1)
    assert called(page, 1) == ["a 1"]  # and the page has no error


def test_components_that_ask_for_the_same_share_a_connection(site: Site, page: Any) -> None:
    page.evaluate("show(props('a'))")
    open_(page)
    page.evaluate("show(props('b'))")
    open_(page)
    site.send(1)
    assert sorted(called(page, 2)) == ["a 1", "b 1"]
    assert site.only()


def test_the_page_shows_the_hook_as_it_is() -> None:
    _, code = HOOK.read_text().split("import", 1)
    assert f"import{code}" in (ROOT / "docs" / "browser.md").read_text()
