"""Writes docs/benchmarks: results.json, README.md with the table, and plots.

Pure formatting of what ``bench.run`` measured; nothing is measured or judged
here but against the goals of ``bench.cases``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.cases import CASES
from bench.figures import FLOOR, GATHERED, OTHERS, OURS, Case, Figure, Goal
from bench.plot import Bar, bars

# Others' processor time, in cores, above which a measurement is taken again, and remarked on.
DISTURBED = 0.10

INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. What is measured and how stands in
[bench/README.md](../../bench/README.md); what was tried where a figure is behind its goal, in
[the performance notes](../performance-notes.md).

Every figure stands beside that of the *floor*: a plain epoll server in C that calls `send()`
once per event and connection ([bench/native/floor.c](../../bench/native/floor.c)), measured in
turn with h3py. Machines differ; **compare the ratios**. Server on one core, load client on the
other, real loopback connections; the client checks every byte of every event, and a run with an
error is not counted.

"x" is the ratio to the C loop, and so is a goal that ends in x. "8 gathered" is the same C loop
with eight events in each `send()`, for reference. CPU is in core-seconds per second, memory is
private memory of the process. Figures are medians of the rounds.
"""


def shown(contender: str) -> str:
    """A contender's name in tables and plots."""
    names = {FLOOR: "C loop", GATHERED: "C loop, 8 gathered"}
    return names.get(contender, f"h3py, {contender}")


def number(value: float | None, digits: int) -> str:
    """1234.5 as 1,234 or 1,234.50; nothing where it was not measured."""
    return "" if value is None else f"{value:,.{digits}f}"


def median(results: dict[str, Any], case: str, contender: str, key: str) -> float | None:
    """The median of a figure, or None where it was not measured."""
    figures = results["cases"].get(case, {}).get("contenders", {}).get(contender, {})
    return figures[key]["median"] if key in figures else None


def ratio(value: float | None, floor: float | None) -> float | None:
    """How many times the floor."""
    return value / floor if value is not None and floor else None


def beside(results: dict[str, Any], case: Case, figure: Figure, contender: str) -> float | None:
    """What a contender's figure is compared with: the floor's, or another server's."""
    goal = figure.goals.get(contender)
    return median(results, case.name, FLOOR if goal is None else goal.beside, figure.key)


def verdict(figure: Figure, contender: str, value: float | None, other: float | None) -> str:
    """Met, missed, or as good as hoped for; ``other`` is what it is compared with."""
    goal = figure.goals.get(contender)
    judged = ratio(value, other) if figure.relative else value
    if goal is None:
        return ""
    if judged is None:
        return "not measured"
    if goal.after is not None and figure.reached(judged, goal.after):
        return "met, and the hope"
    return "met" if figure.reached(judged, goal.must) else "**missed**"


def goal_text(figure: Figure, goal: Goal) -> str:
    """A goal as ">= 10x, hope 20x"."""
    sign = ">=" if figure.higher_is_better else "<="
    unit = "x" if figure.relative else ""
    if goal.beside != FLOOR:
        unit += f" {goal.beside}"
    hope = f", hope {goal.after:,g}{unit}" if goal.after is not None else ""
    return f"{sign} {goal.must:,g}{unit}{hope}"


def goals_text(figure: Figure) -> str:
    """The goals of both backends, once where they are the same."""
    texts = {name: goal_text(figure, goal) for name, goal in figure.goals.items()}
    if len(texts) == len(OURS) and len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{name} {text}" for name, text in texts.items())


HEADER = (
    "| figure | C loop | 8 gathered | h3py trio | x | | h3py threads | x | | goal |",
    "|---|---:|---:|---:|---:|---|---:|---:|---|---|",
)


def rows(results: dict[str, Any], case: Case) -> list[str]:
    """The lines of one case."""
    lines = [f"| **{case.title}** | | | | | | | | | |"]
    failures = results["cases"][case.name]["failures"]
    for figure in case.figures:
        floor = median(results, case.name, FLOOR, figure.key)
        gathered = median(results, case.name, GATHERED, figure.key)
        name = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        cells = [name, number(floor, figure.digits), number(gathered, figure.digits)]
        for contender in OURS:
            value = median(results, case.name, contender, figure.key)
            times = ratio(value, floor)
            said = (
                "**failed**"
                if contender in failures
                else verdict(figure, contender, value, beside(results, case, figure, contender))
            )
            cells += [number(value, figure.digits), number(times, 2), said]
        lines.append("| " + " | ".join([*cells, goals_text(figure)]) + " |")
    return lines


def summary(results: dict[str, Any]) -> list[str]:
    """How many goals were met, and which were not."""
    met, missed, unmeasured = 0, [], 0
    for case in CASES:
        for figure in case.figures:
            for contender in figure.goals:
                value = median(results, case.name, contender, figure.key)
                other = beside(results, case, figure, contender)
                word = verdict(figure, contender, value, other)
                if word == "not measured":
                    unmeasured += 1
                elif "missed" in word:
                    missed.append(f"{case.title}: {figure.title} ({contender})")
                else:
                    met += 1
    lines = [f"Goals met: {met}; missed: {len(missed)}; not measured: {unmeasured}.", ""]
    return lines + [f"- missed: {name}" for name in missed] + ([""] if missed else [])


def plots(results: dict[str, Any], folder: Path) -> list[str]:
    """One picture for each figure that is worth one; gives the lines that show them."""
    wanted = (
        ("fan-flat", "rate", "fan-out.svg"),
        ("fan-100", "cpu", "fan-out-cpu.svg"),
        ("fan-10", "p99", "latency-10.svg"),
        ("fan-50", "p99", "latency-50.svg"),
        ("driven-1k", "rate", "driven.svg"),
        ("parked-1k", "rate", "parked.svg"),
        ("get", "rate", "get.svg"),
    )
    lines = []
    by_name = {case.name: case for case in CASES}
    for name, key, file in wanted:
        case = by_name[name]
        figure = next(figure for figure in case.figures if figure.key == key)
        drawn = []
        for contender in case.contenders:
            taken = results["cases"].get(name, {}).get("contenders", {}).get(contender, {})
            if key in taken:
                label = shown(contender)
                samples = taken[key]["samples"]
                drawn.append(
                    Bar(label, taken[key]["median"], min(samples), max(samples), contender in OURS)
                )
        if drawn:
            title = f"{case.title}: {figure.title}"
            better = "more is better" if figure.higher_is_better else "less is better"
            (folder / file).write_text(
                bars(title, f"{figure.unit}, {better}", drawn, figure.digits)
            )
            lines += [f"![{title}]({file})", ""]
    return lines


def others_table(results: dict[str, Any]) -> list[str]:
    """What other servers reached in the same runs; nothing where none took part."""
    lines = []
    for case in CASES:
        for figure in case.figures:
            cells = [
                number(median(results, case.name, name, figure.key), figure.digits)
                for name in (FLOOR, *OURS, *OTHERS)
            ]
            if any(cells[1 + len(OURS) :]):
                unit = f", {figure.unit}" if figure.unit else ""
                lines.append(f"| {case.title}: {figure.title}{unit} | {' | '.join(cells)} |")
    if not lines:
        return []
    names = ["C loop", *(f"h3py {name}" for name in OURS), *OTHERS]
    return [
        "## Beside other servers",
        "",
        "An empty field: not measured, or the server could not.",
        "",
        f"| figure | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
        *lines,
        "",
    ]


def disturbances(results: dict[str, Any]) -> list[str]:
    """Which figures are less than they should be: from short rounds, or a machine in use."""
    lines = []
    quick = [name for name, result in results["cases"].items() if result["scale"] != "full"]
    if quick:
        lines.append(f"- From a quick run of two short rounds: {', '.join(quick)}.")
    for name, result in results["cases"].items():
        for contender, figures in result["contenders"].items():
            foreign = figures.get("foreign_cpu", {"median": 0.0})["median"]
            if foreign > DISTURBED:
                lines.append(
                    f"- {name}, {shown(contender)}: others used {foreign:.2f} of the two cores."
                )
    return lines


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write everything from the results of all cases."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    machine = results["machine"]
    described = (
        f"{machine['cores']} cores, {machine['processor']}, {machine['memory_gib']} GiB; "
        f"Linux {machine['kernel']}; {machine['implementation']} {machine['python']}."
    )
    text = [
        INTRODUCTION,
        "## Machine",
        "",
        described,
        "",
        "## Summary",
        "",
        *summary(results),
        *plots(results, folder),
    ]
    remarks = []
    for group in dict.fromkeys(case.group for case in CASES):
        text += [f"## {group}", "", *HEADER]
        for case in CASES:
            result = results["cases"].get(case.name)
            if case.group != group or result is None:
                continue
            text += rows(results, case)
            if case.note:
                remarks.append(f"- {case.title}: {case.note}")
            for contender, failure in result["failures"].items():
                remarks.append(f"- {case.title}, {contender}: `{failure.splitlines()[0]}`")
        text.append("")
    text += others_table(results)
    text += ["## Remarks", "", *remarks, *disturbances(results)]
    (folder / "README.md").write_text("\n".join(text).rstrip() + "\n")
