"""``python -m h3py`` is the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from h3py import __version__


@pytest.mark.process
def test_python_m_h3py() -> None:
    command = [sys.executable, "-m", "h3py", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"h3py {__version__}\n"
