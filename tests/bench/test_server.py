"""What the benchmarks measure of h3py works: every route, on both backends, seen by the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from bench.measures import first_id
from h3py.testing import wait_until
from tests.bench.support import DEADLINE_S, ROOT, Run

pytestmark = pytest.mark.process

Serve = Callable[..., int]


@pytest.fixture(params=["trio", "threads"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Starts the benchmarks' h3py server on one backend; gives its port."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> int:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.server", "--backend", request.param,
             "--max-seconds", "60", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
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


def test_flat_out_loses_nothing(serve: Serve, client: Run) -> None:
    port = serve("--size", "100", "--streams", "20")
    result = client("streams", port, "--path", "/fan?user={i}", "--connections", "20",
                    "--events", "100000", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["events"] >= 100_000


def test_published_events_carry_their_time_and_cost(serve: Serve, client: Run) -> None:
    port = serve("--size", "100", "--streams", "3", "--rate", "500")
    result = client("streams", port, "--path", "/fan?user={i}", "--connections", "3",
                    "--events", "300", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["latency_ms"]["count"] == result["events"]
    cost = progress(port)
    assert cost["calls"] >= 100
    assert cost["median_us"] > 0


def progress(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=30) as answer:
        told: dict[str, float] = json.load(answer)
    return told


def test_each_user_gets_their_own_events(serve: Serve, client: Run) -> None:
    port = serve("--size", "100", "--streams", "3", "--rate", "900", "--to", "users")
    result = client("streams", port, "--path", "/fan?user={i}", "--connections", "3",
                    "--events", "90", "--duration", "30")  # fmt: skip
    # A user who got the events of others would see them come out of order.
    assert result["errors"] == 0
    assert result["latency_ms"]["count"] == result["events"]
    assert progress(port)["calls"] >= 90


def test_a_history_is_there_for_those_who_return(serve: Serve, client: Run) -> None:
    port = serve("--size", "100", "--streams", "1", "--events", "501")
    last_seen = first_id(port)
    wait_until(lambda: progress(port)["published"] == 501)
    result = client("streams", port, "--path", f"/fan?user={{i}}&last_event_id={last_seen}",
                    "--opening", "--connections", "4", "--events", "2000",
                    "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["events"] == 4 * 500


@pytest.mark.parametrize("path", ["/driven", "/events"])
def test_a_handler_sends_whole_events_in_order(serve: Serve, client: Run, path: str) -> None:
    port = serve("--size", "4096")
    result = client("streams", port, "--path", path, "--events", "5000", "--duration", "30")
    assert result["errors"] == 0
    assert result["events"] >= 5000


def test_streams_are_established(serve: Serve, client: Run) -> None:
    port = serve()
    result = client("establish", port, "--path", "/first?user={i}", "--connections", "4",
                    "--events", "50", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["established"] >= 50


def test_plain_requests_are_answered(serve: Serve, client: Run) -> None:
    port = serve()
    result = client("get", port, "--path", "/plain", "--connections", "4", "--body", "13",
                    "--events", "200", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["requests"] >= 200


def test_a_holding_stream_stays_silent(serve: Serve, client: Run) -> None:
    port = serve()
    result = client("streams", port, "--path", "/hold", "--connections", "2", "--duration", "0.1")
    assert (result["errors"], result["ended"], result["life"]["events"]) == (0, 0, 0)
