"""Counts the tests of several pytest runs; prints ``N passed, N failed``.

Usage: count_tests.py REPORT.xml ... [--failed-jobs N]

A job that failed without a failed test (a lint, a timeout, a sanitizer's report)
counts as one failure. A test that ran on three interpreters counts three times:
it was run three times.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(report: Path) -> tuple[int, int]:
    """Tests that passed and that did not, of one JUnit report."""
    passed = failed = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        failed += bad
        passed += int(suite.get("tests", 0)) - bad - int(suite.get("skipped", 0))
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", nargs="*", type=Path)
    parser.add_argument("--failed-jobs", type=int, default=0)
    arguments = parser.parse_args()
    counts = [count(report) for report in arguments.reports if report.exists()]
    passed = sum(passed for passed, _ in counts)
    failed = sum(failed for _, failed in counts)
    print(f"{passed} passed, {max(failed, arguments.failed_jobs)} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
