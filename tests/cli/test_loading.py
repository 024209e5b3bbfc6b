"""``module:attribute`` finds the application, or says in one line what is wrong and where."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from h3py.cli.loading import load_app
from h3py.errors import ConfigError

APP = "from h3py import H3\napp = H3()\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", None) or vars(module).get("__path__")):
            del sys.modules[name]


def told(target: str) -> str:
    """What is said about a target that cannot be loaded: one line."""
    with pytest.raises(ConfigError) as caught:
        load_app(target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("target", ["loadable:app", "loadable", "loadable:nested.inner"])
def test_an_application_is_found(here: Path, target: str) -> None:
    inner = "class nested:\n    inner = app\n"
    (here / "loadable.py").write_text(APP + inner)
    app = load_app(target)
    assert app is sys.modules["loadable"].app


def test_a_module_of_a_package_is_found(here: Path) -> None:
    (here / "packaged").mkdir()
    (here / "packaged" / "web.py").write_text(APP)
    assert load_app("packaged.web:app") is sys.modules["packaged.web"].app


def test_no_such_module(here: Path) -> None:
    assert "there is no module 'absent_module'" in told("absent_module:app")
    assert str(here) in told("absent_module:app")


def test_no_such_module_of_a_package(here: Path) -> None:
    (here / "packed").mkdir()
    (here / "packed" / "__init__.py").write_text("")
    assert "there is no module 'packed.web'" in told("packed.web:app")


def test_a_module_that_misses_another_says_which_and_where(here: Path) -> None:
    (here / "needy.py").write_text("\nimport absent_dependency\n")
    message = told("needy:app")
    assert "No module named 'absent_dependency'" in message
    assert f"{here}/needy.py, line 2" in message


def test_a_module_that_fails_says_where(here: Path) -> None:
    (here / "failing.py").write_text("def begin():\n    1 / 0\n\nbegin()\n")
    message = told("failing")
    assert message.startswith("cannot import 'failing': ZeroDivisionError: division by zero")
    assert f"{here}/failing.py, line 2" in message


def test_a_module_that_fails_within_a_module_it_imports_says_where(here: Path) -> None:
    (here / "outer.py").write_text("import inner_one\n")
    (here / "inner_one.py").write_text("\n\nraise RuntimeError\n")
    message = told("outer:app")
    assert f"RuntimeError ({here}/inner_one.py, line 3)" in message


def test_a_module_that_is_no_python(here: Path) -> None:
    (here / "unwritten.py").write_text("x = 1\ny = (\n")
    message = told("unwritten")
    assert "SyntaxError" in message
    assert "unwritten.py, line 2" in message


def test_a_message_of_many_lines_is_one_line(here: Path) -> None:
    (here / "chatty.py").write_text("raise RuntimeError('one\\ntwo')\n")
    assert "RuntimeError: one (" in told("chatty")


def test_a_module_that_exits(here: Path) -> None:
    (here / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    assert "SystemExit: 3" in told("leaving")


def test_the_cause_is_chained(here: Path) -> None:
    (here / "failing_too.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        load_app("failing_too")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_attribute_that_is_missing_names_those_that_are_there(here: Path) -> None:
    (here / "named.py").write_text("from h3py import H3\nsite = H3()\nadmin = H3()\nother = 1\n")
    assert told("named") == "named has no 'app'; it has 'site', 'admin'"
    assert told("named:site.more") == "named has no 'site.more'; it has 'site', 'admin'"


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("wrong_number", "app = 1", "of type int"),
        ("wrong_function", "def app(): ...", "of type function"),
        ("wrong_module", "import os as app", "a module"),
        ("wrong_class", "from h3py import H3 as app", "of type ABCMeta"),
    ],
)
def test_an_attribute_that_is_no_application(here: Path, name: str, line: str, kind: str) -> None:
    (here / f"{name}.py").write_text(f"{line}\n")
    assert told(f"{name}:app") == f"{name}:app is {kind}, not an H3 application"


@pytest.mark.parametrize(
    ("target", "better"),
    [
        ("web.py", "web:app"),
        ("web.py:site", "web:site"),
        ("./web.py", "web:app"),
        ("sub/web.py:app", "sub.web:app"),
    ],
)
def test_a_file_name_is_answered_with_the_module(here: Path, target: str, better: str) -> None:
    assert f"as in '{better}'" in told(target)


@pytest.mark.parametrize("target", ["", ":app", "a-b:app", "a..b", "1a"])
def test_what_names_no_module(here: Path, target: str) -> None:
    assert "is not the name of a module" in told(target)
