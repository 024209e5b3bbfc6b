"""How Sphinx makes HTML of the pages in docs/: `make docs`, into build/docs.

The pages are plain Markdown for who reads them in a checkout; nothing in them is for Sphinx. The
order of the navigation is that of the links in docs/index.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

project = "h3py"
author = "the h3py authors"
html_title = "h3py"
html_theme = "furo"
extensions = ["myst_parser"]
# Headings can be linked to, by the same names as where the pages are read with the code.
myst_heading_anchors = 3


def with_navigation(text: str) -> str:
    """The index, with a table of contents that Sphinx sees and its reader does not."""
    linked = list(dict.fromkeys(re.findall(r"\]\(([\w-]+)\.md\)", text)))
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    rest = sorted(pages - {"index"} - set(linked))
    return "\n".join([text, "```{toctree}", ":hidden:", "", *linked, *rest, "```", ""])


def on_read(_app: Any, name: str, source: list[str]) -> None:
    """Sphinx has read a page."""
    if name == "index":
        source[0] = with_navigation(source[0])


def setup(app: Any) -> None:
    """What Sphinx calls at its start."""
    app.connect("source-read", on_read)
