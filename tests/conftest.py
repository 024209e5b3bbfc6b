"""What every test may use, and what CI asks of every test.

- ``backend`` runs a test once on trio and once on threads: one suite for both.
- ``serve_app`` serves an application on loopback for the length of a test.
- With ``CI`` set, a test that is skipped (or expected to fail) has failed: nothing is left out
  unnoticed. What a build cannot run at all is deselected instead: ``soak`` runs without
  ``--soak``, ``faults`` where the core has no fault hooks, ``network`` where the user may not
  make network namespaces (outside CI).
- Hypothesis takes its profile from ``HYPOTHESIS_PROFILE``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, settings

BACKENDS = ("trio", "threads")
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# No deadlines and no health check that reads a clock: a busy machine proves nothing.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=60, **_UNTIMED)
# What fails in CI fails again for whoever looks: the same examples each time.
settings.register_profile(
    "ci", max_examples=200, derandomize=True, database=None, print_blob=True, **_UNTIMED
)
settings.register_profile("sanitizer", parent=settings.get_profile("ci"), max_examples=25)
settings.register_profile("thorough", max_examples=5000, **_UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Literal["trio", "threads"]:
    """The name of a backend; a test that asks for it runs on both."""
    return request.param


@pytest.fixture
def serve_app(backend: str) -> Iterator[Callable[..., Any]]:
    """``serve_app(app, **options)`` serves ``app`` and returns its ``Server``.

    It listens on a port of the system's choice (``server.addresses[0]``); all servers
    that a test began are shut down, gracefully, at its end.
    """
    import h3py  # here: tests of the core alone need no whole package

    with contextlib.ExitStack() as servers:

        def serve(app: Any, **options: Any) -> Any:
            running = h3py.running(app, **{"backend": backend, "port": 0, **options})
            return servers.enter_context(running)

        yield serve


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this run or this build is not for."""
    absent = set()
    if not config.getoption("--soak"):
        absent.add("soak")
    if not _faults_built():
        absent.add("faults")
    if not IN_CI and not _makes_hosts():
        absent.add("network")
    kept = [item for item in items if not any(item.get_closest_marker(name) for name in absent)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _makes_hosts() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None


def _faults_built() -> bool:
    try:
        from h3py._speedups.block import FAULTS_BUILT
    except ImportError:
        return False
    return FAULTS_BUILT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skips_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_skips_in_ci((yield))


def _no_skips_in_ci(report: Any) -> Any:
    if IN_CI and report.outcome == "skipped":
        why = getattr(report, "wasxfail", None) or report.longrepr
        report.__dict__.pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {why}"
    return report
