"""The documentation says what the source says.

``python tools/generated_docs.py`` writes what is compared here.
"""

from __future__ import annotations

import builtins
import importlib.util
import re
from dataclasses import fields
from types import ModuleType

import pytest

from h3py import CloseReason, Limits, ServeOptions, errors
from tests.support.process import ROOT

AGAIN = "run: python tools/generated_docs.py"


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The tool, imported from its file."""
    spec = importlib.util.spec_from_file_location(
        "generated_docs", ROOT / "tools" / "generated_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_options_are_those_of_the_source(generated: ModuleType) -> None:
    text = page("docs/options.md")
    assert text == generated.options_page(), AGAIN
    for field in (*fields(ServeOptions), *fields(Limits)):
        assert f"| `{field.name}` |" in text
    assert not re.search(r"\|\s+\|$", text, re.M), "an option without a word"


def test_the_map_has_every_file(generated: ModuleType) -> None:
    text = page("docs/architecture.md")
    assert generated.file_map() in text, AGAIN
    listed = set(re.findall(r"^\| `([\w.]+)` \|", generated.file_map(), re.M))
    src = ROOT / "src" / "h3py"
    there = {path.name for path in src.rglob("*.py") if path.read_text().strip()}
    there |= {path.name for suffix in ("pyx", "h") for path in src.rglob(f"*.{suffix}")}
    there |= {path.name for path in src.rglob("*.pxd") if not path.with_suffix(".pyx").exists()}
    assert there <= listed
    assert not re.search(r"^\| `[\w.]+` \|\s*\|", generated.file_map(), re.M), "without a purpose"


def test_the_lines_in_the_readme_are_about_right(generated: ModuleType) -> None:
    rows = list(generated.CODE_ROW.finditer(page("README.md")))
    assert len(rows) >= 6
    for row in rows:
        lines = generated.code_lines(row["folders"])
        assert abs(lines - int(row["lines"])) <= max(100, lines / 5), (row["folders"], AGAIN)


def test_every_error_is_explained() -> None:
    text = page("docs/errors.md")
    names = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.H3Error)
    }
    tree, _, explained = text.partition("A handler meets these")
    assert {name for name in names if name not in tree} == set()
    roots = {"H3Error", "SSEError", "H3ConnectionError"}
    assert {name for name in names - roots if f"`{name}" not in explained} == set()


def test_the_error_tree_is_the_tree() -> None:
    """Indentation is inheritance, and the builtin in parentheses is a base."""
    text = page("docs/errors.md").split("```")[1]
    above: list[type] = []
    for line in text.strip().splitlines():
        found = re.match(r"( *)(\w+)(?: \((\w+)\))?", line)
        assert found is not None
        error = getattr(errors, found[2])
        depth = len(found[1]) // 2
        if depth:
            assert issubclass(error, above[depth - 1]), line
        if found[3]:
            assert issubclass(error, getattr(builtins, found[3])), line
        above[depth:] = [error]


def test_the_reasons_that_end_a_stream_today_are_explained() -> None:
    text = page("docs/streaming.md")
    later = {"lease_expired", "max_age", "auth_expired", "kicked", "replaced"}
    known = {reason.value for reason in CloseReason}
    assert later < known
    assert {name for name in known - later if f"`{name}`" not in text} == set()


def test_every_page_is_reached_from_the_index() -> None:
    index = page("docs/index.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    unlinked = {name for name in pages if f"]({name})" not in index}
    assert unlinked <= {"performance-notes.md"}
