"""The published names: exactly these, each documented, and nothing imported by accident."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import h3py
from h3py import errors

ERRORS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.H3Error)
}

PUBLISHED = ERRORS | {
    # application and serving
    *("H3", "H3Event", "Response", "serve", "ServeOptions", "StreamStart", "StreamContext"),
    *("serve_trio", "running", "Server", "Limits"),
    # events
    *("SSEEvent", "SSEWriter", "AsyncSSEWriter", "EventParser", "ReceivedEvent", "format_event"),
    # connections
    *("Connection", "TrioConnection", "ThreadConnection", "CloseReason"),
    "__version__",
}


def test_the_published_names() -> None:
    assert len(h3py.__all__) == len(set(h3py.__all__))
    assert set(h3py.__all__) == PUBLISHED


@pytest.mark.parametrize("name", sorted(PUBLISHED - {"__version__", "Connection"}))
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
