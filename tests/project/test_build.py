"""The build says what a machine lacks, and its parts agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text()


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s<>=!~\[;]", requirement)[0].lower() for requirement in requirements}


def all_dependencies() -> set[str]:
    project = PROJECT["project"]
    return names_of(
        [
            *PROJECT["build-system"]["requires"],
            *project["dependencies"],
            *(name for extra in project["optional-dependencies"].values() for name in extra),
            *(name for group in PROJECT["dependency-groups"].values() for name in group),
        ]
    )


def test_every_dependency_has_its_reason() -> None:
    rows = re.findall(r"^\| *([\w-]+) *\|(.*)\|$", DEPENDENCIES, re.MULTILINE)
    rows = [(name, cells) for name, cells in rows if name != "package" and set(name) != {"-"}]
    assert {name.lower() for name, _ in rows} == all_dependencies()
    for name, cells in rows:
        assert all(cell.strip() for cell in cells.split("|")), f"{name}: an empty cell"


def test_the_core_install_is_small() -> None:
    assert names_of(PROJECT["project"]["dependencies"]) == {"trio", "httptools", "msgspec", "click"}


def test_the_build_group_is_what_the_build_requires() -> None:
    """The environment compiles in place with what an isolated build would use."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_setup_stays_small() -> None:
    assert len((ROOT / "setup.py").read_text().splitlines()) < 50


def preflight(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "tools" / "preflight.sh"), *arguments],
        env={**os.environ, "PYTHON": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def fake_python(tmp_path: Path):
    """Makes a ``python3`` that answers preflight as told, and is the only one on PATH."""

    def make(prelude: str) -> dict[str, str]:
        script = tmp_path / "python3"
        # The questions come on stdin; what is asked for is made untrue before they run.
        script.write_text(
            f'#!/bin/sh\n[ "$1" = - ] || exec "{sys.executable}" "$@"\n'
            f'(cat <<"EOF"\n{prelude}\nEOF\ncat) | "{sys.executable}" -\n'
        )
        script.chmod(0o755)
        return {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": str(script)}

    return make


def test_preflight_gives_a_python_that_runs() -> None:
    done = preflight()
    assert done.returncode == 0, done.stderr
    code = "import sys, venv; print(sys.version_info >= (3, 11))"
    told = subprocess.run([done.stdout.strip(), "-c", code], capture_output=True, check=True)
    assert told.stdout == b"True\n"


@pytest.mark.parametrize(
    ("prelude", "complaint"),
    [
        ("import sys; sys.version_info = (3, 10, 1)", "is Python 3.10: h3py needs 3.11 or newer"),
        (
            "import sys; sys.modules['ensurepip'] = None",
            "lacks its venv module; on Debian and Ubuntu: apt-get install python3.",
        ),
        (
            "import sysconfig; sysconfig.get_path = lambda name: '/nowhere'",
            "lacks its headers (Python.h); on",
        ),
        (
            "import os, sys; sys.modules['ensurepip'] = None; os.environ['CC'] = 'nocc -O2'",
            "lacks its venv module, a C compiler (nocc); on",
        ),
        ("raise SystemExit(1)", "does not run"),
    ],
)
def test_preflight_names_what_is_missing(fake_python, prelude: str, complaint: str) -> None:
    done = preflight(**fake_python(prelude))
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1, "one line"


def test_preflight_names_a_missing_compiler() -> None:
    done = preflight(CC="no-such-compiler -O2")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "lacks a C compiler (no-such-compiler)" in done.stderr


def test_preflight_names_missing_c_headers(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    done = preflight(CC=str(compiler))
    assert done.returncode == 1
    assert "a C compiler that takes Python.h" in done.stderr


def test_preflight_wants_the_version_asked_for() -> None:
    done = preflight("3.2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Python 3.2 not found" in done.stderr


def test_ci_is_a_program_and_its_jobs_are_functions() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    text = run.read_text()
    jobs = re.search(r"^JOBS=\((.*)\)$", text, re.MULTILINE)
    assert jobs is not None
    for job in jobs[1].split():
        assert f"\njob_{job}() {{" in text
        assert f"[{job}]=" in text, f"{job} has no limit of time"


def test_counting_tests_of_several_runs(tmp_path: Path) -> None:
    suite = (
        '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'
    )
    (tmp_path / "a.xml").write_text(suite.format(10, 1, 1, 2))
    (tmp_path / "b.xml").write_text(suite.format(5, 0, 0, 0))
    command = [sys.executable, str(ROOT / "tools" / "count_tests.py")]
    reports = [str(tmp_path / name) for name in ("a.xml", "b.xml", "missing.xml")]
    for arguments, told in [
        (reports, "11 passed, 2 failed\n"),
        ([*reports, "--failed-jobs", "3"], "11 passed, 3 failed\n"),
        (["--failed-jobs", "1"], "0 passed, 1 failed\n"),
    ]:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout == told
