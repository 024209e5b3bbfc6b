"""A pytest plugin that writes down which tests there are, and the backend each runs on.

Loaded with ``-p tests.support.collect`` by the tests that check what the documentation names.
It sees tests before any is deselected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.process import ROOT

_TARGET = "H3PY_COLLECTED"


def backends_of_tests(files: Iterable[str], place: Path) -> dict[str, set[str | None]]:
    """Every test of these files, without its parameters, and the backends it runs on.

    Args:
        files: Paths from the top of the project.
        place: A folder to work in.
    """
    target = place / "collected.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--collect-only", "-q"),
            *("-p", "no:cacheprovider", "-p", "tests.support.collect"),
            *files,
        ],
        cwd=ROOT,
        env={**os.environ, _TARGET: str(target)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str | None]] = {}
    for name, backend in json.loads(target.read_text()):
        found.setdefault(name, set()).add(backend)
    return found


class _Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        call = getattr(item, "callspec", None)
        given = call.params if call is not None else {}
        # A fixture of a longer life than ``backend`` has the name among its own parameters.
        others = (value for value in given.values() if value in ("trio", "threads"))
        backend = given.get("backend") or next(others, None)
        self.seen.append((item.nodeid.partition("[")[0], backend))

    def pytest_sessionfinish(self) -> None:
        Path(os.environ[_TARGET]).write_text(json.dumps(self.seen))


def pytest_configure(config: pytest.Config) -> None:
    if _TARGET in os.environ:
        config.pluginmanager.register(_Recorder())
