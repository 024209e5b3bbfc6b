"""The native programs, built once, and ways to run them.

The load client is tested against a server of the test's own: a real listening
socket on which a thread sends exactly the bytes that the test names. Nothing
here measures time; every run ends by a count or by the server's close.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.support import DEADLINE_S, HEAD, ROOT, Run, read_request, serving


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``floor`` and ``client``, built from the sources of this tree."""
    out = tmp_path_factory.mktemp("native")
    assert shutil.which("make"), "these tests need make and a C compiler"
    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "bench" / "native"), f"OUT={out}"],
        check=True,
        timeout=DEADLINE_S,
    )
    return out


@pytest.fixture
def client(native: Path) -> Run:
    """Runs the load client to its end; gives the object that it printed last."""

    def run(mode: str, port: int, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(native / "client"), mode, "--port", str(port), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    return run


@pytest.fixture
def received(client: Run) -> Callable[..., dict[str, Any]]:
    """What the load client counts when a stream sends exactly ``pieces``, then ends."""

    def run(*pieces: bytes, head: bytes = HEAD) -> dict[str, Any]:
        def answer(connection: socket.socket) -> None:
            read_request(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head)
            for piece in pieces:
                connection.sendall(piece)

        with serving(answer) as port:
            # Ends when its stream has ended; the duration is only a bound.
            result = client("streams", port, "--duration", "30")
        # All of the stream may come before the window begins: take the whole life.
        whole: dict[str, Any] = result["life"]
        return result | whole

    return run


@pytest.fixture
def floor(native: Path) -> Iterator[Callable[..., int]]:
    """Starts floor servers; gives the port of each."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> int:
        process = subprocess.Popen(
            [str(native / "floor"), "--max-seconds", "60", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        port: int = json.loads(process.stdout.readline())["port"]
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()
