"""The demo's page and what it is made of: HTML with the code of each panel in it.

Values from outside (the name of the backend, source code) are escaped into the page
once, when the application is made. Everything a visitor says comes by events and is
shown as text by the scripts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from textwrap import dedent
from typing import Any

ASSETS = {
    **dict.fromkeys(("demo.css", "panels.css"), "text/css; charset=utf-8"),
    **dict.fromkeys(
        (
            "demo.js", "streams.js", "timeline.js", "live.js", "chat.js", "replay.js", "crowd.js",
            "notifications.js", "dom.js",
        ),
        "text/javascript; charset=utf-8",
    ),
}  # fmt: skip
"""The files beside the page, and their types."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render(backend: str, code: Mapping[str, Sequence[Callable[..., Any]]]) -> str:
    """The page, with the name of the backend and the code of each panel in it."""
    page = read("index.html").replace("{{backend}}", escape(backend))
    for name, functions in code.items():
        source = "\n".join(dedent(inspect.getsource(function)) for function in functions)
        page = page.replace(f"{{{{code of {name}}}}}", escape(source.rstrip()))
    return page


def read(name: str) -> str:
    """A file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
