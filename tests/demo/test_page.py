"""What is put into the page is escaped."""

from __future__ import annotations

from h3py.demo.page import ASSETS, read, render


def shown(a: int) -> str:
    return f"<b>{a}</b>" if a < 1 else "&"


def test_code_is_text() -> None:
    page = render("trio", {"counter": [shown]})
    assert "return f&quot;&lt;b&gt;{a}&lt;/b&gt;&quot; if a &lt; 1 else &quot;&amp;&quot;" in page


def test_the_name_of_the_backend_is_text() -> None:
    assert "<script>x" not in render("<script>x", {})
    assert "&lt;script&gt;x" in render("<script>x", {})


def test_the_files_are_there() -> None:
    assert all(read(name) for name in ASSETS)
