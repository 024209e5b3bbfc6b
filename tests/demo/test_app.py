"""The demo's page and files, without a browser: the same on both backends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from h3py.demo import make_app
from h3py.demo.page import ASSETS
from tests.support.client import Client


@pytest.fixture
def address(serve_app: Callable[..., Any], backend: str) -> Any:
    return serve_app(make_app(backend)).addresses[0]


def test_the_page_names_its_backend_and_shows_the_code(address: Any, backend: str) -> None:
    with Client(address) as client:
        reply = client.get("/")
        assert reply.head["content-type"] == "text/html; charset=utf-8"
        assert f'<strong id="backend">{backend}</strong>' in reply.text
        for function in ("counter", "tokens", "write_text", "tick", "say", "cut", "webhook"):
            assert re.search(rf"<pre[^>]*>[^<]*def {function}\(", reply.text), function
        assert "{{" not in reply.text
        assert "default-src 'none'" in reply.head["content-security-policy"]


def test_what_the_page_needs_is_served(address: Any) -> None:
    with Client(address) as client:
        texts = [client.get("/").text]
        for name, kind in ASSETS.items():
            reply = client.get(f"/{name}")
            assert (reply.status, reply.head["content-type"]) == (200, kind)
            texts.append(reply.text)
        for name in ASSETS:
            assert any(f'"/{name}"' in text for text in texts), f"{name} is not asked for"
        assert client.get("/app.py").status == 404


def test_every_file_that_is_asked_for_is_there(address: Any) -> None:
    with Client(address) as client:
        texts = [client.get(f"/{name}").text for name in ("", *ASSETS)]
        asked = {
            name
            for text in texts
            for name in re.findall(r'(?:from|src=|href=|import) ?"(/[^"]+\.(?:js|css))"', text)
        }
        assert "/api/sse/client.js" in asked
        assert {name: client.get(name).status for name in asked} == dict.fromkeys(asked, 200)


def test_the_scripts_set_no_markup() -> None:
    """What others say is shown as text: nothing here turns text into elements."""
    from h3py.demo.page import read

    for name in ASSETS:
        if name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", read(name)
            )
