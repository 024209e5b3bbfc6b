"""How one contender is measured once: starts a fresh server, aims the load client at it.

Every function returns a ``Sample``. A run in which the client found an error (a
lost, repeated or torn event, a wrong answer) is no measurement: ``RunFailed``.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.figures import FLOOR, GATHERED, OTHERS, OURS, Sample, Scale
from bench.processes import (
    BUILD,
    ClientProcess,
    RunFailed,
    ServerProcess,
    private_kib,
    run_window,
)

NEVER = 20_000  # more streams than will ever join: nothing is published
TCP_IP_BYTES = 20 + 20 + 12  # headers of a packet: IPv4, TCP, its timestamps
SETTLE_S = 0.7
RETURNING, REPLAYED = 100, 10_000  # clients that come back, and the events each has missed
HISTORY_S = 30.0  # until a history of that size must be there


def server_for(contender: str, **options: float | str) -> ServerProcess:
    """The server of a contender; all take the same options."""
    arguments = [
        part
        for name, value in options.items()
        for part in (f"--{name}", value if isinstance(value, str) else f"{value:g}")
    ]
    if contender == FLOOR:
        argv = [str(BUILD / "floor"), *arguments]
    elif contender == GATHERED:
        argv = [str(BUILD / "floor"), *arguments, "--gather", "8"]
    elif contender in OTHERS:
        argv = [os.environ["BENCH_OTHERS_PYTHON"], "-m", OTHERS[contender], *arguments]
    else:
        argv = [sys.executable, "-m", "bench.server", "--backend", contender, *arguments]
    return ServerProcess(argv)


def window_arguments(scale: Scale) -> list[str]:
    """The client's options for its window."""
    return ["--warmup", f"{scale.warmup_s}", "--duration", f"{scale.window_s}"]


def checked(figures: dict[str, Any], contender: str) -> dict[str, Any]:
    """The figures, if the client saw nothing wrong."""
    if figures["errors"]:
        wrong = {
            name: figures[name]
            for name in ("lost", "repeated", "torn", "resets", "refused", "cut", "wrong", "closed")
            if figures.get(name)
        }
        raise RunFailed(f"{contender}: the client found errors: {wrong}")
    return figures


def streams(
    path: str, *, size: int, rate: float = 0, many: bool = False, connections: int | None = None
) -> Callable[[str, Scale], Sample]:
    """Streams that receive what is published, or what their own handlers send."""

    def measure(contender: str, scale: Scale) -> Sample:
        count = connections or (scale.many_connections if many else scale.connections)
        with server_for(contender, size=size, rate=rate, streams=count) as server:
            target = ["--path", f"{path}?user={{i}}", "--connections", str(count)]
            window = window_arguments(scale)
            got = checked(run_window(server, "streams", *target, *window), contender)
            sample = {
                "rate": got["events"] / got["seconds"],
                "gbit": got["wire_bytes"] * 8 / got["seconds"] / 1e9,
                "cpu": got["server_cpu"],
                "p50": got["latency_ms"]["p50"],
                "p99": got["latency_ms"]["p99"],
                "p999": got["latency_ms"]["p999"],
                "client_cpu": got["client_cpu"],
                "foreign_cpu": got["foreign_cpu"],
            }
            life = got["life"]
            on_wire = life["wire_bytes"] + TCP_IP_BYTES * life["segments"]
            sample["payload_http"] = 100 * life["data_bytes"] / max(1, life["wire_bytes"])
            sample["payload_wire"] = 100 * life["data_bytes"] / max(1, on_wire)
            if rate:
                # A server that cannot follow would otherwise look cheap.
                sample["delivered"] = 100 * sample["rate"] / (rate * count)
                if contender in OURS:
                    sample["publish_us"] = ask(server, "/progress")["median_us"]
            return sample

    return measure


def ask(server: ServerProcess, path: str) -> dict[str, Any]:
    """A JSON answer of the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def to_one_user(contender: str, scale: Scale) -> Sample:
    """500 calls of ``send_to_user`` a second, each to another one of 10,000 users."""
    count = scale.many_connections
    with server_for(contender, size=100, rate=500, streams=count, to="users") as server:
        target = ["--path", "/fan?user={i}", "--connections", str(count)]
        window = window_arguments(scale)
        got = checked(run_window(server, "streams", *target, *window), contender)
        return {
            "call_us": ask(server, "/progress")["median_us"],
            "p50": got["latency_ms"]["p50"],
            "p99": got["latency_ms"]["p99"],
            "cpu": got["server_cpu"],
            "client_cpu": got["client_cpu"],
            "foreign_cpu": got["foreign_cpu"],
        }


def first_id(port: int) -> str:
    """The id of the first event of a stream: what a client that leaves then comes back with."""
    address = ("127.0.0.1", port)
    with socket.create_connection(address, timeout=HISTORY_S) as connection:
        connection.sendall(b"GET /fan?user=first HTTP/1.1\r\nHost: bench\r\n\r\n")
        for line in connection.makefile("rb"):
            if line.startswith(b"id: "):
                return line[4:].decode().strip()
    raise RunFailed("the stream of the first event ended")


def with_history(contender: str, events: int) -> tuple[ServerProcess, Callable[[], str]]:
    """A server that publishes one event and ``events`` more, and the id to come back with."""
    server = server_for(contender, size=100, streams=1, events=events + 1)

    def ready() -> str:
        last_seen = first_id(server.port)
        deadline = time.monotonic() + HISTORY_S
        while ask(server, "/progress")["published"] <= events:
            if time.monotonic() > deadline:
                raise RunFailed(f"{contender}: the history is not there after {HISTORY_S:g} s")
            time.sleep(0.01)
        return last_seen

    return server, ready


def replay(contender: str, _scale: Scale) -> Sample:
    """100 clients return and get 10,000 events each, from the first connect to the last event.

    The floor has no history: it sends as many to as many, as fast as they take them.
    """
    if contender in OURS:
        server, ready = with_history(contender, REPLAYED)
    else:
        server, ready = server_for(contender, size=100, streams=RETURNING), lambda: ""
    wanted = REPLAYED * RETURNING
    with server:
        got = run_window(
            server, "streams", "--path", f"/fan?user={{i}}&last_event_id={ready()}", "--opening",
            "--connections", str(RETURNING), "--events", str(wanted), "--duration", "30",
        )  # fmt: skip
        checked(got, contender)
    if got["events"] < wanted:
        raise RunFailed(f"{contender}: {got['events']} of {wanted} events came back")
    return {
        "rate": got["events"] / got["seconds"],
        "cpu": got["server_cpu"],
        "client_cpu": got["client_cpu"],
        "foreign_cpu": got["foreign_cpu"],
    }


def plain_gets(contender: str, scale: Scale) -> Sample:
    """Keep-alive requests on 64 connections, one in flight on each."""
    with server_for(contender) as server:
        target = ["--path", "/plain", "--connections", "64", "--body", "13"]
        window = window_arguments(scale)
        got = checked(run_window(server, "get", *target, *window), contender)
        return {
            "rate": got["requests"] / got["seconds"],
            "p50": got["latency_ms"]["p50"],
            "p99": got["latency_ms"]["p99"],
            "cpu": got["server_cpu"],
            "client_cpu": got["client_cpu"],
            "foreign_cpu": got["foreign_cpu"],
        }


def establish(contender: str, scale: Scale) -> Sample:
    """Connect, request, first event, close; 32 at a time."""
    with server_for(contender) as server:
        return _established(server, "/first?user={i}", contender, scale)


def return_to_manager(contender: str, scale: Scale) -> Sample:
    """The same with a manager: each returns with an id, and gets the one event it missed."""
    if contender not in OURS:
        return establish(contender, scale)
    server, ready = with_history(contender, 1)
    with server:
        return _established(server, f"/fan?user={{i}}&last_event_id={ready()}", contender, scale)


def _established(server: ServerProcess, path: str, contender: str, scale: Scale) -> Sample:
    target = ["--path", path, "--connections", "32"]
    window = window_arguments(scale)
    got = checked(run_window(server, "establish", *target, *window), contender)
    return {
        "rate": got["established"] / got["seconds"],
        "p50": got["latency_ms"]["p50"],
        "p99": got["latency_ms"]["p99"],
        "cpu": got["server_cpu"],
        "client_cpu": got["client_cpu"],
        "foreign_cpu": got["foreign_cpu"],
    }


def hold(server: ServerProcess, path: str, count: int) -> ClientProcess:
    """A client that opens streams and keeps them."""
    return ClientProcess(
        server, "streams", "--path", path, "--connections", str(count), "--hold",
        "--duration", "0.1",
    )  # fmt: skip


# Streams before those whose memory is measured.
WARM = 1000


def memory(path: str, count: int) -> Callable[[str, Scale], Sample]:
    """Memory per idle stream: what ``count`` more of them cost, after a thousand.

    By then the threads backend has started its workers, which are there for any number.
    """

    def measure(contender: str, _scale: Scale) -> Sample:
        with (
            server_for(contender, streams=NEVER) as server,
            hold(server, f"{path}?user=a{{i}}", WARM) as first,
        ):
            first.until("end")
            time.sleep(SETTLE_S)
            before = private_kib(server.pid)
            with hold(server, f"{path}?user=b{{i}}", count) as more:
                more.until("end")
                time.sleep(SETTLE_S)
                after = private_kib(server.pid)
        return {"kib": (after - before) / count}

    return measure


def paced_gets(server: ServerProcess, window: list[str], contender: str) -> dict[str, Any]:
    """500 GETs a second, timed by a client that does not wait for the other one."""
    target = ["--path", "/plain", "--connections", "16", "--body", "13", "--rate", "500"]
    return checked(run_window(server, "get", *target, *window, urgent=True), contender)


def gets_while_broadcasting(contender: str, scale: Scale) -> Sample:
    """GETs at an easy pace, first on an idle server, then with 10 broadcasts/s to all streams."""
    count = scale.many_connections
    with server_for(contender, size=100, rate=10, streams=count) as server:
        window = window_arguments(scale)
        idle = paced_gets(server, window, contender)
        with hold(server, "/fan?user={i}", count) as held:
            held.until("end")
            time.sleep(SETTLE_S)
            busy = paced_gets(server, window, contender)
            held.end_input()
            checked(held.read(), contender)
    return {
        "idle_p99": idle["latency_ms"]["p99"],
        "p99": busy["latency_ms"]["p99"],
        "times": busy["latency_ms"]["p99"] / max(1e-6, idle["latency_ms"]["p99"]),
    }


def growth(contender: str, _scale: Scale) -> Sample:
    """By how much the server grows while a parked stream gets a million events.

    It has had some hundred thousand before, so that the log is full.
    """
    with server_for(contender, size=100, rate=0, streams=1) as server:
        client = ClientProcess(
            server, "streams", "--path", "/fan?user={i}", "--events", "1000000",
            "--warmup", "3", "--duration", "60",
        )  # fmt: skip
        with client:
            client.until("begin")
            before = private_kib(server.pid)
            client.until("end")
            after = private_kib(server.pid)
            checked(client.read(), contender)
    return {"kib": float(after - before)}
