"""The shape of the tree: tests mirror sources, and no file is too long to read in one go."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.process import ROOT

SRC = ROOT / "src" / "h3py"
LONGEST = 420
"""Lines of one file: about 400, with room for a last sentence."""

REASON = "longer than"
"""A longer file says in its head what it is longer than, and why it is one file."""

WITHOUT_TESTS = {
    "backends/steps.py": "types and protocols alone; every handler test drives them",
    "sse/host.py": "types and protocols alone; every stream's test drives them",
    "sse/operations.py": "tests/sse/test_writer.py: what all writers share",
}
"""Modules that have no test module of their own, and the reason: often the tests that drive them,
which must exist."""


def project_files(*patterns: str) -> list[Path]:
    """Files of the project, without what a build or a run left among them."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not is_made(path))


def is_made(path: Path) -> bool:
    inside = path.relative_to(ROOT).parts
    return any(
        part in ("build", "__pycache__") or part.endswith(".egg-info") for part in inside
    ) or (path.suffix == ".c" and path.with_suffix(".pyx").exists())


def mirror_of(source: Path) -> str:
    """Where the tests of a module stand, from ``tests/``."""
    *folders, name = source.relative_to(SRC).with_suffix("").parts
    return "/".join([*(part.strip("_") for part in folders), f"test_{name.strip('_')}.py"])


def modules() -> list[Path]:
    """Every module of the package that a test can call.

    A compiled module whose stub names nothing has C functions alone: what calls those is tested.
    """
    found = project_files("src/h3py/**/*.py", "src/h3py/**/*.pyx")
    return [path for path in found if path.name != "__init__.py" and has_names(path)]


def has_names(source: Path) -> bool:
    stub = source.with_suffix(".pyi")
    if source.suffix != ".pyx" or not stub.is_file():
        return True
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        or (isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("__"))
        for node in ast.parse(stub.read_text()).body
    )


@pytest.mark.parametrize("source", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_each_module_has_its_tests(source: Path) -> None:
    name = str(source.relative_to(SRC))
    exists = (ROOT / "tests" / mirror_of(source)).is_file()
    if name in WITHOUT_TESTS:
        assert not exists, f"{name} has tests now: take it off the list"
    else:
        assert exists, f"tests/{mirror_of(source)} is missing"


def test_what_needs_no_tests_exists_and_so_do_its_reasons() -> None:
    assert [name for name in WITHOUT_TESTS if not (SRC / name).is_file()] == []
    named = {path for why in WITHOUT_TESTS.values() for path in re.findall(r"tests/[\w/.]+py", why)}
    assert {path for path in named if not (ROOT / path).is_file()} == set()


def test_the_names_of_test_modules() -> None:
    assert mirror_of(SRC / "_speedups" / "parse.pyx") == "speedups/test_parse.py"
    assert mirror_of(SRC / "app" / "router.py") == "app/test_router.py"
    assert mirror_of(SRC / "errors.py") == "test_errors.py"


def test_a_stub_tells_whether_there_is_something_to_call(tmp_path: Path) -> None:
    source = tmp_path / "part.pyx"
    assert has_names(source)
    for stub, names in [
        ("def f() -> int: ...", True),
        ("from typing import Final\nLIMIT: Final[int]", True),
        ("from typing import Final\n__pyx_capi__: Final[dict[str, object]]", False),
        ("", False),
    ]:
        source.with_suffix(".pyi").write_text(stub)
        assert has_names(source) is names


def test_each_compiled_module_has_its_stub() -> None:
    sources = project_files("src/h3py/**/*.pyx")
    assert [path.name for path in sources if not path.with_suffix(".pyi").is_file()] == []


def too_long(lines: list[str]) -> bool:
    """Whether a file needs a reason for its length and gives none in its first 40 lines."""
    return len(lines) > LONGEST and REASON not in " ".join(" ".join(lines[:40]).split())


def test_no_file_is_too_long() -> None:
    suffixes = ("py", "pyx", "pxd", "pxi", "pyi", "h", "c", "sh", "js", "css", "html")
    folders = ("src", "tests", "bench", "examples", "tools", ".ci")
    found = project_files(*(f"{folder}/**/*.{suffix}" for folder in folders for suffix in suffixes))
    long = {
        str(path.relative_to(ROOT)): len(lines)
        for path in found
        if too_long(lines := path.read_text().splitlines())
    }
    assert long == {}


def test_a_long_file_may_say_why() -> None:
    body = ["x = 1"] * LONGEST
    assert not too_long(body)
    assert too_long([*body, "y"])
    assert not too_long(['"""One table,', "longer than 400 lines: it is one to read too.", *body])
