"""What import-linter does not see: what compiled modules import, and who imports ``h3py`` itself.

The core stands at the bottom: of the package it may use only the errors and the close reasons,
which import nothing, and itself, in one direction. ``h3py`` as a whole stands at the top: only
programs import it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.process import ROOT

CORE = ROOT / "src" / "h3py" / "_speedups"
BELOW = ("h3py.errors", "h3py.close_reason")

NO_DESCRIPTORS = ("format", "fields", "text", "buffer", "parse", "block", "queue")
"""Parts of the core that are values: bytes in, bytes out."""

NETWORK_HEADERS = ("sys/socket.h", "sys/epoll.h", "sys/event.h", "poll.h", "netinet/", "unistd.h")

PROGRAMS = ("cli", "demo", "__main__.py")
"""What may import ``h3py`` as its users do."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<source>\.*[\w.]*)[ \t]+c?import[ \t]+(?P<names>\([^)]*\)|[^\n#]+)"
    r"|c?import[ \t]+(?P<plain>[\w. \t,]+))",
    re.MULTILINE,
)
_EXTERN = re.compile(r"^[ \t]*cdef extern from[ \t]+[\"]<?(?P<header>[^\">]+)", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*include[ \t]+[\"'](?P<file>[^\"']+)", re.MULTILINE)


def imports_of(text: str, package: str = "h3py._speedups") -> set[str]:
    """The modules that Cython source imports, at C or at Python level, with full names."""
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    found: set[str] = set()
    for match in _IMPORT.finditer(text):
        if match["plain"]:
            found |= {part.split()[0] for part in match["plain"].split(",") if part.strip()}
            continue
        source = match["source"]
        if source.startswith("."):
            dots = len(source) - len(source.lstrip("."))
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - dots + 1])
            source = ".".join(part for part in (base, source.lstrip(".")) if part)
        if source == package or source == "h3py":
            names = re.sub(r"[()\s]+", " ", match["names"]).split(",")
            found |= {f"{source}.{name.split()[0]}" for name in names if name.strip()}
        else:
            found.add(source)
    return found


SOURCES = sorted(path for suffix in ("pyx", "pxd", "pxi") for path in CORE.glob(f"*.{suffix}"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_core_imports_nothing_above_it(source: Path) -> None:
    ours = {name for name in imports_of(source.read_text()) if name.split(".")[0] == "h3py"}
    wrong = {name for name in ours if not name.startswith((*BELOW, "h3py._speedups."))}
    assert wrong == set()


def test_the_core_has_no_cycle() -> None:
    """The parts of the core, each after all that it imports."""
    uses = {
        name: {
            imported.split(".")[2]
            for suffix in ("pyx", "pxd")
            if (path := CORE / f"{name}.{suffix}").is_file()
            for imported in imports_of(path.read_text())
            if imported.startswith("h3py._speedups.")
        }
        - {name}
        for name in {path.stem for path in SOURCES}
    }
    ready: set[str] = set()
    while later := {name for name in uses if name not in ready}:
        free = {name for name in later if uses[name] <= ready}
        assert free, f"a cycle among {sorted(later)}"
        ready |= free


@pytest.mark.parametrize("name", NO_DESCRIPTORS)
def test_formatting_parsing_and_queueing_know_no_descriptor(name: str) -> None:
    sources = [path for path in SOURCES if path.stem == name]
    assert sources, f"there is no {name}: mend the list"
    for text in (path.read_text() for path in sources):
        headers = [match["header"] for match in _EXTERN.finditer(text)]
        assert [header for header in headers if header.startswith(NETWORK_HEADERS)] == []
        assert not {used for used in imports_of(text) if used.startswith(("posix.", "socket"))}


def imports_whole_package(text: str) -> bool:
    """Whether Python source imports ``h3py`` itself, in any way."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and any(name.name == "h3py" for name in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "h3py" and not node.level:
            return True
    return False


def test_only_programs_import_the_whole_package() -> None:
    package = ROOT / "src" / "h3py"
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in PROGRAMS
        and imports_whole_package(path.read_text())
    }
    assert found == set()


def test_reading_imports_of_the_whole_package() -> None:
    assert imports_whole_package("def f():\n    from h3py import H3")
    assert imports_whole_package("import os, h3py")
    assert not imports_whole_package("import h3py.app\nfrom h3py.app import H3")


def test_the_core_includes_no_text() -> None:
    """``include`` would hide imports from the tests above."""
    assert [path.name for path in SOURCES if _INCLUDE.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from h3py.app cimport x", {"h3py.app"}),
        ("    from h3py.app import x  # why", {"h3py.app"}),
        ("import trio, h3py.app as a", {"trio", "h3py.app"}),
        ("cimport cython", {"cython"}),
        ("from .block cimport (\n    Block,\n    drop,\n)", {"h3py._speedups.block"}),
        ("from . cimport block", {"h3py._speedups.block"}),
        ("from ..errors import X", {"h3py.errors"}),
        ("from h3py import (\n    SSEEvent as E,\n)", {"h3py.SSEEvent"}),
        ('"""\nimport trio\n"""', set()),
    ],
)
def test_reading_imports(text: str, found: set[str]) -> None:
    assert imports_of(text) == found
