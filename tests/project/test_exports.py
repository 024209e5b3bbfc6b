"""The published names: exactly these, each documented, and nothing imported by accident."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib

import pytest

import h3py
from h3py import errors
from tests.support.process import ROOT

ERRORS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.H3Error)
}

PUBLISHED = ERRORS | {
    # application and serving
    *("H3", "H3Event", "Response", "Headers", "StaticFiles", "inline"),
    *("serve", "serve_trio", "running", "Server", "ServeOptions", "Limits"),
    *("CORS", "RateLimit"),
    # events and streams
    *("SSEEvent", "EventParser", "ReceivedEvent", "format_event", "format_comment"),
    *("StreamStart", "StreamContext", "SSEWriter", "AsyncSSEWriter", "CloseReason"),
    # connections
    *("Connection", "TrioConnection", "ThreadConnection", "ConnectionState"),
    # who gets what
    *("SSEManager", "ManagerOptions", "Subscription", "ConnectionInfo", "MemoryBroker"),
    *("Notifications", "Principal"),
}


def test_the_published_names() -> None:
    assert len(h3py.__all__) == len(set(h3py.__all__))
    assert set(h3py.__all__) == PUBLISHED


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert h3py.__version__ == project["version"]


@pytest.mark.parametrize("name", sorted(PUBLISHED - {"Connection"}))
def test_each_is_there_and_documented(name: str) -> None:
    value = getattr(h3py, name)
    assert inspect.getdoc(value), f"h3py.{name} has no docstring"


def test_every_error_stands_in_the_printed_tree() -> None:
    assert errors.__doc__ is not None
    assert {name for name in ERRORS if name not in errors.__doc__} == set()


def test_importing_h3py_starts_nothing_and_needs_no_extra() -> None:
    """No thread, and none of the optional packages."""
    code = (
        "import sys, threading, h3py; "
        "extra = {'asyncio', 'multipart', 'python_multipart', 'redis', 'httpx', 'uvloop'}; "
        "print(threading.active_count(), sorted(extra & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["1", "[]\n"]
