"""The benchmarks' report judges by its goals, and a new run replaces what it measured again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench.cases import CASES
from bench.figures import FLOOR, GATHERED, OURS, Figure, Goal, both
from bench.plot import Bar, bars
from bench.report import beside, goals_text, verdict, write_report
from bench.run import chosen, merge

MORE = Figure("rate", "events", "", True, goals=both(10, 20))
LESS = Figure("p99", "p99", "ms", False, goals=both(1.2, 1.0))
ABSOLUTE = Figure("kib", "memory", "KiB", False, relative=False, goals={"trio": Goal(1.5)})


@pytest.mark.parametrize(
    ("figure", "value", "floor", "expected"),
    [
        (MORE, 99.0, 10.0, "**missed**"),
        (MORE, 100.0, 10.0, "met"),
        (MORE, 200.0, 10.0, "met, and the hope"),
        (MORE, None, 10.0, "not measured"),
        (MORE, 100.0, None, "not measured"),
        (LESS, 12.1, 10.0, "**missed**"),
        (LESS, 12.0, 10.0, "met"),
        (LESS, 10.0, 10.0, "met, and the hope"),
        (ABSOLUTE, 1.5, 0.1, "met"),
        (ABSOLUTE, 1.6, None, "**missed**"),
    ],
)
def test_verdicts(figure: Figure, value: float | None, floor: float | None, expected: str) -> None:
    assert verdict(figure, "trio", value, floor) == expected


def test_a_goal_may_be_a_multiple_of_another_server() -> None:
    case = next(case for case in CASES if case.name == "get")
    rate = case.figures[0]
    medians = {FLOOR: 200.0, "trio": 41.0, "threads": 20.0, "sse-starlette": 40.0, "gthread": 8.0}
    contenders = {name: {"rate": {"median": value}} for name, value in medians.items()}
    results = {"cases": {"get": {"contenders": contenders}}}
    assert beside(results, case, rate, "trio") == 40.0
    assert verdict(rate, "trio", 41.0, beside(results, case, rate, "trio")) == "met"
    assert verdict(rate, "threads", 20.0, beside(results, case, rate, "threads")) == "**missed**"
    del contenders["sse-starlette"]
    assert verdict(rate, "trio", 41.0, beside(results, case, rate, "trio")) == "not measured"


def test_no_goal_no_verdict() -> None:
    assert verdict(ABSOLUTE, "threads", 1000.0, 1.0) == ""


def test_goals_are_told_once_or_for_each_backend() -> None:
    assert goals_text(MORE) == ">= 10x, hope 20x"
    assert goals_text(ABSOLUTE) == "trio <= 1.5"
    mixed = Figure("r", "r", "", True, goals={"trio": Goal(0.5, 0.7), "threads": Goal(0.7)})
    assert goals_text(mixed) == "trio >= 0.5x, hope 0.7x; threads >= 0.7x"


def test_goals_are_for_our_backends_only() -> None:
    with pytest.raises(ValueError, match="'floor'"):
        Figure("r", "r", "", True, goals={FLOOR: Goal(1)})


def test_cases_have_names_of_their_own_and_can_be_chosen() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert [case.name for case in chosen(["parked-*"])] == ["parked-1k", "parked-4k", "parked-16k"]
    assert [case.name for case in chosen(["get", "fan-10"])] == ["fan-10", "get"]
    assert chosen(None) == list(CASES)
    with pytest.raises(SystemExit, match="no such case"):
        chosen(["nothing"])


def test_a_partial_run_keeps_what_it_did_not_measure() -> None:
    old = {"scale": "full", "failures": {}, "contenders": {"floor": {"a": 1}, "trio": {"a": 2}}}
    new = {"scale": "quick", "failures": {}, "contenders": {"trio": {"a": 3}}}
    assert merge(old, new)["contenders"] == {"floor": {"a": 1}, "trio": {"a": 3}}
    assert merge(None, new) is new


def test_a_failure_removes_the_figures_it_had() -> None:
    old = {"scale": "full", "failures": {}, "contenders": {"floor": {"a": 1}, "trio": {"a": 2}}}
    new: dict[str, Any] = {"scale": "full", "failures": {"trio": "why"}, "contenders": {}}
    assert merge(old, new)["contenders"] == {"floor": {"a": 1}}


def made_up_results() -> dict[str, Any]:
    values = {FLOOR: 10.0, GATHERED: 70.0, "trio": 200.0, "threads": 50.0}
    keys = {figure.key for case in CASES for figure in case.figures}
    return {
        "machine": {
            "processor": "abacus", "cores": 2, "memory_gib": 1.0, "kernel": "6.1",
            "python": "3.11.1", "implementation": "cpython",
        },
        "cases": {
            "fan-flat": {
                "scale": "full",
                "failures": {},
                "contenders": {
                    name: {
                        **{key: {"median": value, "samples": [value, value + 1]} for key in keys},
                        "foreign_cpu": {"median": 0.5 if name == FLOOR else 0.0, "samples": []},
                    }
                    for name, value in values.items()
                },
            },
            "get": {"scale": "quick", "failures": {"trio": "it fell\nover"}, "contenders": {}},
        },
    }  # fmt: skip


def test_the_report_has_table_plots_and_remarks(tmp_path: Path) -> None:
    results = made_up_results()
    write_report(results, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    text = (tmp_path / "README.md").read_text()
    row = (
        "| deliveries/s | 10 | 70 | 200 | 20.00 | met, and the hope | 50 | 5.00 | **missed** "
        "| >= 10x, hope 20x |"
    )
    assert row in text.splitlines()
    assert "Goals met: 3; missed: 1;" in text
    assert "- From a quick run of two short rounds: get." in text
    assert "- fan-flat, C loop: others used 0.50 of the two cores." in text
    assert "trio: `it fell`" in text
    assert "![1,000 streams, flat out, 100-byte data: deliveries/s](fan-out.svg)" in text
    assert (tmp_path / "fan-out.svg").exists()


def test_a_plot_is_xml_whatever_the_labels() -> None:
    drawing = bars("a < b", "1/s & more", [Bar("<x>", 5, 4, 6, True), Bar("y", 0, 0, 0, False)], 0)
    root = ET.fromstring(drawing)
    namespace = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{namespace}text")]
    assert "<x>" in texts
    widths = [float(element.attrib["width"]) for element in root.iter(f"{namespace}rect")]
    assert widths[0] > widths[1] > 0


def test_every_goal_is_of_a_contender_of_its_case() -> None:
    for case in CASES:
        assert set(OURS) <= set(case.contenders)
        for figure in case.figures:
            assert set(figure.goals) <= set(case.contenders)
