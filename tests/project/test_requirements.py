"""docs/requirements.md is a table that can be believed.

One row for each id, ``| id | state | shown by | note |``. State is ``done``, ``part`` or
``open``. What is not ``open`` names what shows it: tests (``tests/...::name``), benchmarks
(``bench/...``) or a script of the project, several separated by commas. A named test runs on
both backends, unless it tests a layer below them, or the note says ``one backend: why``. Tests of
the application layer alone (``tests/app/``) count where another test of the row runs on both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import BACKENDS
from tests.support.collect import backends_of_tests
from tests.support.process import ROOT

PAGE = ROOT / "docs" / "requirements.md"


def _ids(letter: str, last: int) -> list[str]:
    return [f"{letter}{number}" for number in range(1, last + 1)]


IDS = [
    *_ids("F", 8),
    *_ids("C", 9),
    *_ids("E", 10),
    *_ids("M", 16),
    *_ids("S", 9),
    *_ids("D", 1),
    *_ids("N", 13),
    *_ids("P", 7),
]

BELOW_BACKENDS = ("tests/speedups/", "tests/http/", "tests/sse/", "tests/project/", "tests/fuzz/")
"""Tests of what no backend is part of."""


@dataclass(frozen=True)
class Row:
    id: str
    state: str
    shown_by: tuple[str, ...]
    note: str


def parse(page: str) -> list[Row]:
    """The rows of the page's tables; a line that looks like a row and is none fails."""
    rows = []
    for line in page.splitlines():
        if not re.match(r"\|\s*[A-Z]\d", line):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        assert len(cells) == 4, f"a row has four cells: {line}"
        shown_by = tuple(part.strip("` ") for part in cells[2].split(",") if part.strip("` "))
        rows.append(Row(cells[0], cells[1], shown_by, cells[3]))
    return rows


ROWS = parse(PAGE.read_text())


def test_every_id_once_and_in_order() -> None:
    assert [row.id for row in ROWS] == IDS


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_state_is_legal_and_shown(row: Row) -> None:
    assert row.state in ("done", "part", "open")
    if row.state == "done":
        assert row.shown_by, f"{row.id} is done, but nothing shows it"
    if row.state == "part":
        assert row.note, f"{row.id} is done in part: the note says what is missing"
    for name in row.shown_by:
        assert (ROOT / name.partition("::")[0]).is_file(), f"{row.id} names {name}"


def test_named_tests_exist_and_run_on_both_backends(tmp_path: Path) -> None:
    named = [(row, name) for row in ROWS for name in row.shown_by if name.startswith("tests/")]
    files = sorted({name.partition("::")[0] for _, name in named})
    found = backends_of_tests(files, tmp_path) if files else {}
    wrong = [problem for row, name in named if (problem := problem_of(row, name, found))]
    assert not wrong, "\n".join(wrong)


def problem_of(row: Row, name: str, found: dict[str, set[str | None]]) -> str | None:
    """What is wrong with a test that a row names, or None."""
    if "::" not in name:
        return f"{row.id}: {name} is a file; name its tests"
    if name not in found:
        return f"{row.id}: there is no test {name}"
    if name.startswith(BELOW_BACKENDS) or "one backend:" in row.note:
        return None
    if name.startswith("tests/app/") and any(
        set(BACKENDS) <= found.get(other, set()) for other in row.shown_by
    ):
        return None
    if missing := set(BACKENDS) - found[name]:
        return f"{row.id}: {name} does not run on {', '.join(sorted(missing))}"
    return None


BOTH: set[str | None] = {"trio", "threads"}
FOUND: dict[str, set[str | None]] = {
    "tests/backends/test_a.py::test_both": BOTH,
    "tests/backends/test_a.py::test_trio": {"trio"},
    "tests/backends/test_a.py::test_none": {None},
    "tests/app/test_a.py::test_none": {None},
    "tests/http/test_a.py::test_none": {None},
}


@pytest.mark.parametrize(
    ("names", "note", "problem"),
    [
        (["tests/backends/test_a.py::test_both"], "", None),
        (["tests/backends/test_a.py"], "", "is a file"),
        (["tests/backends/test_a.py::test_gone"], "", "there is no test"),
        (["tests/backends/test_a.py::test_none"], "", "does not run on threads, trio"),
        (["tests/backends/test_a.py::test_trio"], "", "does not run on threads"),
        (["tests/backends/test_a.py::test_trio"], "one backend: async only", None),
        (["tests/http/test_a.py::test_none"], "", None),
        (["tests/app/test_a.py::test_none"], "", "does not run on threads, trio"),
        (
            ["tests/app/test_a.py::test_none", "tests/backends/test_a.py::test_both"],
            "",
            None,
        ),
    ],
)
def test_the_check_itself(names: list[str], note: str, problem: str | None) -> None:
    told = problem_of(Row("X1", "done", tuple(names), note), names[0], FOUND)
    assert told is None if problem is None else problem in str(told)


def test_collecting_tells_the_backends(tmp_path: Path) -> None:
    found = backends_of_tests(["tests/project/test_support.py"], tmp_path)
    assert found["tests/project/test_support.py::test_runs_on_both"] == BOTH
    assert found["tests/project/test_support.py::test_a_header_sent_twice_fails"] == {None}
