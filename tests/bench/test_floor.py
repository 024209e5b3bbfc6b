"""The floor sends what it says, whole and in order: seen by the load client and by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from bench.payload import event_data
from tests.bench.support import DEADLINE_S, HEAD, Run, chunk

pytestmark = pytest.mark.process

Floor = Callable[..., int]

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


def read_exactly(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        more = connection.recv(length - len(got))
        assert more, f"closed after {len(got)} of {length} bytes"
        got += more
    return got


def test_flat_out_is_an_endless_sequence_of_whole_events(floor: Floor, client: Run) -> None:
    port = floor("--size", "100", "--streams", "3")
    result = client("streams", port, "--connections", "3", "--events", "30000", "--duration", "30")
    assert result["errors"] == 0
    assert result["events"] >= 30000
    assert result["data_bytes"] == result["events"] * 100


def test_partial_sends_continue_where_they_stopped(floor: Floor, client: Run) -> None:
    port = floor("--size", "1000000", "--streams", "4")
    result = client("streams", port, "--connections", "4", "--events", "300", "--duration", "30")
    assert result["errors"] == 0


def test_gathered_events_are_the_same_events(floor: Floor, client: Run) -> None:
    port = floor("--size", "1024", "--gather", "8")
    result = client("streams", port, "--events", "10000", "--duration", "30")
    assert result["errors"] == 0
    # Eight events a send: far fewer packets than events.
    assert result["life"]["segments"] < result["life"]["events"] / 4


def test_ticks_reach_every_stream_and_carry_the_time(floor: Floor, client: Run) -> None:
    port = floor("--size", "100", "--streams", "5", "--rate", "1000")
    result = client("streams", port, "--connections", "5", "--events", "200", "--duration", "30")
    assert result["errors"] == 0
    assert result["latency_ms"]["count"] == result["events"]
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["max"]


def test_nothing_is_sent_before_all_streams_are_there(floor: Floor) -> None:
    port = floor("--size", "60", "--streams", "2")
    address = ("127.0.0.1", port)
    request = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    plain = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        socket.create_connection(address, DEADLINE_S) as first,
        socket.create_connection(address, DEADLINE_S) as second,
    ):
        first.sendall(request)
        head = read_exactly(first, len(HEAD) + len(b"Cache-Control: no-cache\r\n"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
        for _ in range(2):  # two turns of its loop: it has had its chance to send
            second.sendall(plain)
            assert read_exactly(second, len(PLAIN)) == PLAIN
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)
        first.settimeout(DEADLINE_S)
        second.sendall(request)
        expected = b"".join(
            chunk(b"data: " + event_data(60, n, modulus=64).encode() + b"\n\n") for n in range(2)
        )
        assert read_exactly(first, len(expected)) == expected


def test_first_is_one_event_on_a_stream_that_stays_open(floor: Floor, client: Run) -> None:
    port = floor("--size", "100")
    result = client("establish", port, "--path", "/first", "--connections", "4",
                    "--events", "100", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["established"] >= 100


def test_plain_requests_are_answered_also_when_split_or_pipelined(
    floor: Floor, client: Run
) -> None:
    port = floor()
    request = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        connection.sendall(request + request[:9])
        assert read_exactly(connection, len(PLAIN)) == PLAIN
        connection.sendall(request[9:])
        assert read_exactly(connection, len(PLAIN)) == PLAIN
    result = client("get", port, "--path", "/plain", "--connections", "8", "--body", "13",
                    "--events", "1000", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["requests"] >= 1000


def test_requests_can_be_paced(floor: Floor, client: Run) -> None:
    port = floor()
    result = client("get", port, "--path", "/plain", "--connections", "2", "--body", "13",
                    "--rate", "2000", "--events", "200", "--duration", "30")  # fmt: skip
    assert result["errors"] == 0
    assert result["requests"] >= 200
