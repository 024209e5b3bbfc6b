"""The documentation holds: its Python runs, its commands and files exist.

A page's ``python`` blocks are one program: each is run in the names the ones before it left, with
``serve`` recording its application instead of blocking. A block marked ``python fragment`` shows a
shape and is compiled only (``await`` and ``yield`` may stand outside a function there). ``pycon``
blocks are doctests.
"""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT

PAGES = sorted(path for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")] if path.is_file())
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```", re.M | re.S
)
_LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`(?P<path>(?:src|tests|bench|examples|tools|docs|\.ci)/[\w./-]*\w)(?:::\w+)?`")
_MAKE = re.compile(r"(?:^|`|\$ )make ((?:[a-z]+ ?)+)", re.M)


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=page_id)


@dataclass(frozen=True)
class Block:
    info: str
    code: str
    line: int


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, with the line on which each begins."""
    return [
        Block(
            match["info"].strip(),
            textwrap.dedent(match["code"]),
            text.count("\n", 0, match.start()) + 2,
        )
        for match in _BLOCK.finditer(text)
    ]


def run_python(text: str, name: str) -> dict[str, Any]:
    """Run the blocks of one page in order; gives the names they leave."""
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks_of(text):
        kind, _, how = block.info.partition(" ")
        if kind == "pycon":
            examples = doctest.DocTestParser().get_doctest(
                block.code, names, name, name, block.line
            )
            result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
            assert result.failed == 0, f"{name}, line {block.line}"
            continue
        if kind != "python":
            continue
        assert how in ("", "fragment"), f"{name}, line {block.line}: {block.info!r}"
        source = "\n" * (block.line - 1) + block.code
        if how == "fragment":
            compile(_in_function(block.code), name, "exec")
        else:
            exec(compile(source, name, "exec"), names)
    return names


def _in_function(code: str) -> str:
    """The same code where ``await``, ``yield`` and ``return`` are allowed."""
    try:
        ast.parse(code)
        compile(code, "fragment", "exec")
    except SyntaxError:
        return "async def fragment():\n" + textwrap.indent(code, "    ")
    return code


@pages
def test_python_blocks_run(page: Path, monkeypatch, tmp_path: Path) -> None:
    import h3py

    served = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(h3py, "serve", lambda app, *args, **options: served.append(app))
    run_python(page.read_text(), page_id(page))


@pages
def test_links_lead_somewhere(page: Path) -> None:
    # What looks like a link in a program is none.
    text = _BLOCK.sub("", page.read_text())
    targets = {match["path"] for match in _LINK.finditer(text)}
    assert {path for path in targets if not (page.parent / path).exists()} == set()


@pages
def test_named_files_exist(page: Path) -> None:
    named = {match["path"] for match in _PATH.finditer(page.read_text())}
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pages
def test_named_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY:(.*)", makefile, re.M)[1].split())
    shell = " ".join(block.code for block in blocks_of(page.read_text())) + page.read_text()
    named = {word for match in _MAKE.finditer(shell) for word in match[1].split()[:1]}
    assert named <= phony, named - phony


def test_blocks_share_their_names_and_tell_their_line() -> None:
    page = "text\n\n```python\na = 1\n```\n\n- item\n  ```python\n  b = a + 1\n  ```\n"
    assert run_python(page, "page")["b"] == 2
    with pytest.raises(ZeroDivisionError) as caught:
        run_python("\n\n```python\n\n1 / 0\n```\n", "page")
    assert caught.traceback[-1].lineno == 4  # counted from 0


def test_a_wrong_block_fails() -> None:
    with pytest.raises(SyntaxError):
        run_python("```python fragment\nawait = 1\n```\n", "page")
    with pytest.raises(AssertionError, match="line 2"):
        run_python("```pycon\n>>> 1 + 1\n3\n```\n", "page")
    with pytest.raises(AssertionError, match="python norun"):
        run_python("```python norun\n1\n```\n", "page")
    run_python("```python fragment\nasync with x:\n    yield await y\n```\n", "page")
