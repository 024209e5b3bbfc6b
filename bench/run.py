"""Runs the benchmarks: ``python -m bench.run [--quick] [--only NAME] [--no-write]``.

For every case the contenders are measured in turn, round after round (floor,
trio, threads, floor, trio, ...), each time with a fresh server, so that a slow
minute of the machine touches all of them. The table shows medians. Results of
cases that were not run again are kept from the run before, unless that was on
another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench import processes
from bench.cases import CASES
from bench.figures import FULL, QUICK, Case, Sample, Scale
from bench.processes import ROOT, RunFailed, build_native, busy_s, enough_cores, machine
from bench.report import DISTURBED, write_report

DOCS = ROOT / "docs" / "benchmarks"
TRIES = 3
LOOK_S = 0.5


class Patience:
    """Waits for a calm machine, as long as it lasts: a budget of seconds for the whole run."""

    def __init__(self, budget_s: float) -> None:
        self.left_s = budget_s

    def wait(self) -> None:
        """Until others use little of the cores, or the budget is spent."""
        while self.left_s > 0:
            began, busy = time.monotonic(), busy_s()
            time.sleep(LOOK_S)
            length = time.monotonic() - began
            if (busy_s() - busy) / length <= DISTURBED:
                return
            self.left_s -= length

    def spend(self, seconds: float) -> None:
        """A measurement that has to be taken again has cost so much."""
        self.left_s -= seconds


def measure_calmly(case: Case, contender: str, scale: Scale, patience: Patience) -> Sample:
    """One measurement; again, while others use the machine and there is patience left."""
    best: Sample | None = None
    tries = 0
    while True:
        patience.wait()
        began = time.monotonic()
        sample = case.measure(contender, scale)
        tries += 1
        if best is None or sample.get("foreign_cpu", 0) < best.get("foreign_cpu", 0):
            best = sample
        if best.get("foreign_cpu", 0) <= DISTURBED:
            return best
        patience.spend(time.monotonic() - began)
        if tries >= TRIES and patience.left_s <= 0:
            return best


def load_of(sample: Sample) -> str:
    """Who used how much of the cores: whether a figure is the server's, the client's or others'."""
    shares = [
        f"{name} {sample[key]:.2f}"
        for name, key in (("server", "cpu"), ("client", "client_cpu"), ("others", "foreign_cpu"))
        if key in sample
    ]
    return f"  (cores: {', '.join(shares)})" if shares else ""


def run_case(case: Case, contenders: list[str], scale: Scale, patience: Patience) -> dict[str, Any]:
    """All rounds of one case: the samples of each contender, and their medians."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    failures: dict[str, str] = {}
    for number in range(scale.rounds):
        for contender in contenders:
            if contender in failures:
                continue
            try:
                sample = measure_calmly(case, contender, scale, patience)
            except RunFailed as error:
                failures[contender] = str(error)
                print(f"  {case.name} {contender}: FAILED: {error}", flush=True)
                continue
            samples[contender].append(sample)
            shown = ", ".join(
                f"{figure.key} {sample[figure.key]:,.{figure.digits}f}"
                for figure in case.figures
                if figure.key in sample
            )
            where = f"{case.name} [{number + 1}/{scale.rounds}] {contender}"
            print(f"  {where}: {shown}{load_of(sample)}", flush=True)
    return {
        "scale": scale.name,
        "failures": failures,
        "contenders": {
            name: {
                key: {
                    "median": statistics.median(s[key] for s in taken),
                    "samples": [round(s[key], 6) for s in taken],
                }
                for key in taken[0]
            }
            for name, taken in samples.items()
            if taken
        },
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, for a look")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this case (or prefix-*); repeatable"
    )
    parser.add_argument(
        "--contenders", metavar="A,B", help="only these: floor, trio, threads; others are kept"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="instead of five, or two")
    parser.add_argument(
        "--patience", type=float, default=0, metavar="S",
        help="wait so many seconds in all for others to leave the machine alone",
    )  # fmt: skip
    parser.add_argument(
        "--claim", action="store_true",
        help="take the cores from whatever else runs while measuring (root, Linux autogroups)",
    )  # fmt: skip
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks alone")
    parser.add_argument("--report", action="store_true", help="only write the report again")
    parser.add_argument("--list", action="store_true", help="name the cases")
    return parser.parse_args(argv)


def chosen(only: list[str] | None) -> list[Case]:
    """The cases that were asked for, in the order of the table."""
    if not only:
        return list(CASES)
    cases = [
        case
        for case in CASES
        if any(case.name == name or (name.endswith("*") and case.name.startswith(name[:-1]))
               for name in only)
    ]  # fmt: skip
    if not cases:
        raise SystemExit(f"no such case; there are: {', '.join(case.name for case in CASES)}")
    return cases


def load(path: Path) -> dict[str, Any]:
    """What an earlier run left, if it was on this machine."""
    if path.exists():
        results: dict[str, Any] = json.loads(path.read_text())
        if results["machine"] == machine():
            return results
    return {"machine": machine(), "cases": {}}


def merge(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The new results of a case, with the old ones of contenders that were not measured."""
    if old is None:
        return new
    return {
        "scale": new["scale"],
        "failures": new["failures"],
        "contenders": {
            name: kept
            for name, kept in {**old["contenders"], **new["contenders"]}.items()
            if name not in new["failures"]
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Run, print, write. Exit code 1 when a contender failed."""
    options = parse(argv)
    if options.list:
        for case in CASES:
            print(f"{case.name:16} {case.title}")
        return 0
    results = load(DOCS / "results.json")
    if options.report:
        write_report(results, DOCS)
        return 0
    if not enough_cores():
        raise SystemExit("the benchmarks need two cores: one for the server, one for the client")
    build_native()
    processes.claim = options.claim
    patience = Patience(options.patience)
    os.sched_setaffinity(0, {1})  # the driver sleeps while others are measured, beside the client
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = Scale(**{**vars(scale), "rounds": options.rounds})
    wanted = options.contenders.split(",") if options.contenders else None
    failed = False
    for case in chosen(options.only):
        everyone = (*case.contenders, *(case.others if "BENCH_OTHERS_PYTHON" in os.environ else ()))
        contenders = [name for name in everyone if wanted is None or name in wanted]
        if not contenders:
            continue
        began = time.monotonic()
        print(f"{case.name}: {case.title}", flush=True)
        new = run_case(case, contenders, scale, patience)
        failed = failed or bool(new["failures"])
        results["cases"][case.name] = merge(results["cases"].get(case.name), new)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        if not options.no_write:
            write_report(results, DOCS)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
