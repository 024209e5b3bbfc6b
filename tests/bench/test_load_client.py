"""The load client counts right: framing, sequence and content, against bytes written here."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.payload import WRAP, event_data
from tests.bench.support import LAST, Run, chunk, read_request, serving

pytestmark = pytest.mark.process

Received = Callable[..., dict[str, Any]]

ERRORS = ("lost", "repeated", "torn", "resets", "refused", "cut")


def wire(sequence: int, size: int = 60, **more: int) -> bytes:
    return chunk(b"data: " + event_data(size, sequence, **more).encode() + b"\n\n")


def errors(result: dict[str, Any]) -> dict[str, int]:
    assert result["errors"] == sum(result[name] for name in ERRORS)
    return {name: result[name] for name in ERRORS if result[name]}


def test_counts_events_and_their_bytes(received: Received) -> None:
    stream = b"".join(wire(n) for n in range(10)) + LAST
    result = received(stream)
    assert errors(result) == {}
    assert (result["events"], result["data_bytes"]) == (10, 600)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 61])
def test_any_split_of_the_bytes_counts_the_same(received: Received, step: int) -> None:
    stream = b"".join(wire(n, size=44 + n) for n in range(5)) + LAST
    result = received(*(stream[at : at + step] for at in range(0, len(stream), step)))
    assert errors(result) == {}
    assert (result["events"], result["data_bytes"]) == (5, 44 * 5 + 10)


def test_chunks_need_not_be_events(received: Received) -> None:
    stream = b"".join(b"data: " + event_data(99, n).encode() + b"\n\n" for n in range(4))
    result = received(chunk(stream[:50]), chunk(stream[50:333]), chunk(stream[333:]), LAST)
    assert errors(result) == {}
    assert result["events"] == 4


def test_chunk_extensions_and_upper_case_sizes_are_read(received: Received) -> None:
    body = b"data: " + event_data(64 + 12, 0).encode() + b"\n\n"
    result = received(b"%X;name=value\r\n%b\r\n" % (len(body), body), LAST)
    assert errors(result) == {}
    assert result["events"] == 1


def test_a_stream_without_chunks_ends_with_its_connection(received: Received) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n"
    result = received(b"data: " + event_data(60, 5).encode() + b"\n\n", head=head)
    assert errors(result) == {}
    assert result["events"] == 1


def test_other_fields_comments_and_crlf_are_no_errors(received: Received) -> None:
    data = event_data(60, 3).encode()
    result = received(
        chunk(b"retry: 3000\n\n"),
        chunk(b": hello\n\n"),
        chunk(b"id: 7\r\nevent: tick\r\ndata: " + data + b"\r\n\r\n"),
        LAST,
    )
    assert errors(result) == {}
    assert (result["events"], result["comments"], result["named"]) == (1, 1, 1)


def test_a_gap_counts_the_events_that_are_missing(received: Received) -> None:
    assert errors(received(wire(5), wire(6), wire(10), wire(11), LAST)) == {"lost": 3}


def test_a_repeated_event_is_seen(received: Received) -> None:
    assert errors(received(wire(5), wire(6), wire(6), wire(7), LAST)) == {"repeated": 1}


def test_swapped_events_are_seen(received: Received) -> None:
    assert errors(received(wire(0), wire(2), wire(1), wire(2), LAST)) == {"lost": 1, "repeated": 1}


@pytest.mark.parametrize("modulus", [64, 0])
def test_the_sequence_wraps_at_its_modulus(received: Received, modulus: int) -> None:
    last = (modulus or WRAP) - 1
    stream = [wire(n, modulus=modulus) for n in (last - 1, last, 0, 1)]
    assert errors(received(*stream, LAST)) == {}
    assert errors(received(stream[0], stream[2], LAST)) == {"lost": 1}


@pytest.mark.parametrize("at", [7, 8, 17, 34, 40, 43, 44, 59])
def test_a_wrong_byte_in_the_data_is_torn(received: Received, at: int) -> None:
    data = bytearray(event_data(60, 1).encode())
    data[at] ^= 0x01
    assert errors(received(wire(0), chunk(b"data: " + bytes(data) + b"\n\n"), LAST)) == {"torn": 1}


@pytest.mark.parametrize("letter", [b"/", b":", b"a", b"\x7f", b"\xb0"])
@pytest.mark.parametrize("at", [0, 9, 18, 26, 35, 42])
def test_only_digits_are_digits(received: Received, letter: bytes, at: int) -> None:
    data = event_data(60, 1).encode()
    data = data[:at] + letter + data[at + 1 :]
    assert errors(received(wire(0), chunk(b"data: " + data + b"\n\n"), LAST)) == {"torn": 1}


@pytest.mark.parametrize(
    "data",
    [
        event_data(60, 1)[:-1],
        event_data(60, 1) + "A",
        event_data(60, 1)[:30],
        "",
        event_data(60, 64, modulus=64),
        event_data(60, 1)[:50] + "\ndata: " + event_data(60, 1)[50:],
    ],
    ids=["short", "long", "no head", "empty", "past its modulus", "two lines"],
)
def test_data_that_is_no_whole_event_is_torn(received: Received, data: str) -> None:
    body = f"data: {data}\n\n".encode()
    assert errors(received(wire(0), chunk(body), wire(1), LAST)) == {"torn": 1}


def test_one_event_inside_another_is_torn(received: Received) -> None:
    whole = b"data: " + event_data(100, 1).encode() + b"\n\n"
    body = whole[:70] + whole + whole[70:]
    result = received(wire(0), chunk(body), LAST)
    assert result["torn"] >= 1


@pytest.mark.parametrize(
    "bad",
    [
        b"zz\r\n",
        b"\r\n",
        b"5\r\nhello--",
        b"5;x\r\nhello\rX",
        b"0\r\n\r\nmore",
        b"0\r\nT: 1\r\n\r\n",
    ],
)
def test_bad_chunks_are_torn(received: Received, bad: bytes) -> None:
    assert errors(received(wire(0), bad)) == {"torn": 1}


def test_an_end_inside_an_event_is_cut(received: Received) -> None:
    assert errors(received(wire(0), wire(1)[:-20])) == {"cut": 1}


def test_an_end_inside_an_event_without_chunks_is_cut(received: Received) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    assert errors(received(b"data: " + event_data(60, 5).encode(), head=head)) == {"cut": 1}


def test_an_end_without_the_last_chunk_is_cut(received: Received) -> None:
    assert errors(received(wire(0))) == {"cut": 1}


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 17000,
    ],
    ids=["status", "type", "endless"],
)
def test_an_answer_that_is_no_stream_is_refused(received: Received, head: bytes) -> None:
    assert errors(received(head=head)) == {"refused": 1}


def test_a_reset_event_is_an_error(received: Received) -> None:
    reset = chunk(b'event: h3py:reset\ndata: {"missed": 3}\n\n')
    assert errors(received(wire(0), reset, LAST)) == {"resets": 1}


def test_each_stream_has_its_own_number_and_sequence(client: Run) -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        first = 100 * len(requests)
        connection.sendall(head)
        for n in range(first, first + 3):
            connection.sendall(b"data: " + event_data(60, n).encode() + b"\n\n")

    with serving(answer, connections=3) as port:
        result = client(
            "streams",
            port,
            "--connections",
            "3",
            "--path",
            "/x?user={i}&again={i}",
            "--duration",
            "30",
        )
    assert {request.split()[1] for request in requests} == {
        b"/x?user=%d&again=%d" % (n, n) for n in range(3)
    }
    assert result["errors"] == 0
    assert result["life"]["events"] == 9
    assert result["ended"] == 3


def test_the_window_may_begin_with_the_opening(client: Run) -> None:
    """What comes before all streams are answered counts then: they are answered one by one."""

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for n in range(5):
            connection.sendall(b"data: " + event_data(60, n, time_ns=1).encode() + b"\n\n")

    arguments = ("--connections", "3", "--events", "15", "--duration", "30", "--opening")
    with serving(answer, connections=3) as port:
        result = client("streams", port, *arguments)
    assert (result["errors"], result["events"]) == (0, 15)
    assert result["latency_ms"]["count"] == 15


def test_gets_are_counted_until_enough(client: Run) -> None:
    def answer(connection: socket.socket) -> None:
        # The client leaves when it has had enough, perhaps in the middle of an answer.
        with contextlib.suppress(ConnectionError):
            while connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, ")
                connection.sendall(b"world!")

    with serving(answer) as port:
        result = client("get", port, "--events", "20", "--body", "13", "--duration", "30")
    assert result["errors"] == 0
    assert result["requests"] == 20


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello, world", "wrong"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\nHello, world!", "wrong"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!!", "wrong"),
        (b"HTTP/1.1 200 OK\r\n\r\nHello, world!", "wrong"),
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello", "closed"),
    ],
)
def test_wrong_answers_are_errors(client: Run, reply: bytes, error: str) -> None:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    with serving(answer) as port:
        result = client("get", port, "--body", "13", "--duration", "30")
    assert (result["requests"], result["errors"], result[error]) == (0, 1, 1)


def test_only_loopback_addresses_are_taken(native: Path) -> None:
    done = subprocess.run(
        [str(native / "client"), "get", "--host", "192.0.2.1", "--port", "80"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "192.0.2.1 is not an address of 127.0.0.0/8" in done.stderr
