"""The helpers of the tests: they must wait, and they must be able to fail."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.http import ChunkedReader, parse_head
from tests.support.process import Program
from tests.support.wait import trio_wait_until, wait_until

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def test_wait_until_returns_what_became_true() -> None:
    values = iter([0, None, "", "there"])
    assert wait_until(lambda: next(values)) == "there"


def test_wait_until_fails_at_its_deadline_and_tells_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"the answer \(last value: 0\)"):
        wait_until(lambda: 0, deadline_s=0.02, what="the answer")


async def test_trio_wait_until_lets_other_tasks_run(nursery) -> None:
    seen: list[str] = []

    async def other() -> None:
        seen.append("ran")

    nursery.start_soon(other)
    assert await trio_wait_until(lambda: seen) == ["ran"]
    with pytest.raises(AssertionError, match="last value: None"):
        await trio_wait_until(lambda: None, deadline_s=0.02)


@pytest.fixture
def peer() -> Iterator[tuple[Client, socket.socket]]:
    """A client, and the plain socket at its other end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Client(listener.getsockname(), deadline_s=0.2) as client,
    ):
        other, _ = listener.accept()
        with other:
            yield client, other


def test_client_reads_a_reply_that_comes_in_pieces(peer) -> None:
    client, other = peer
    client.request("GET", "/x", [("X-A", "1")])
    wanted = b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n\r\n"
    assert other.recv(len(wanted), socket.MSG_WAITALL) == wanted
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + b"HTTP/1.1 404 Not Found\r\n"

    def send() -> None:
        for index in range(len(whole)):
            other.send(whole[index : index + 1])

    sender = threading.Thread(target=send)
    sender.start()
    reply = client.read_reply()
    sender.join()
    assert (reply.status, reply.head["content-length"], reply.text) == (200, "5", "hello")
    assert client.read_until(b"\r\n") == b"HTTP/1.1 404 Not Found\r\n"


def test_client_reads_a_chunked_reply_and_keeps_what_follows(peer) -> None:
    client, other = peer
    other.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT"
    )
    assert client.read_reply().body == b"abcde"
    assert client.read_exactly(4) == b"NEXT"


def test_client_fails_at_its_deadline(peer) -> None:
    client, other = peer
    other.send(b"HTTP/1.1 200")
    with pytest.raises(AssertionError, match=r"not within .* so far b'HTTP/1.1 200'"):
        client.read_head()


def test_client_tells_a_clean_end_from_a_reset(peer) -> None:
    client, other = peer
    other.shutdown(socket.SHUT_WR)
    client.expect_eof()
    client.reset()
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_expect_eof_fails_where_bytes_come_first(peer) -> None:
    client, other = peer
    other.send(b"late")
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(AssertionError, match="late"):
        client.expect_eof()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nA : b",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d",
        b"HTTP/1.1 200 OK\r\n folded",
        b"HTTP/1.1 200 OK\r\nA: \x00",
    ],
)
def test_a_head_that_is_not_legal_fails(raw: bytes) -> None:
    with pytest.raises(AssertionError, match="not a"):
        parse_head(raw)


def test_a_header_sent_twice_fails() -> None:
    head = parse_head(b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2")
    assert head.get_all("A") == ["1", "2"]
    with pytest.raises(AssertionError, match="sent 2 times"):
        head.get("a")


@pytest.mark.parametrize("raw", [b"\r\n", b"x\r\n", b"3\r\nabcd\r\n", b"3;x\r\nabc\r\n"])
def test_chunks_that_are_not_legal_fail(raw: bytes) -> None:
    with pytest.raises(AssertionError, match="chunk"):
        ChunkedReader().feed(raw)


def test_chunks_are_kept_apart() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"1\r\na\r\n2\r\nb") == b"a"
    assert not reader.ended
    assert reader.feed(b"c\r\n0\r\n\r\nHTTP") == b"bc"
    assert (reader.chunks, reader.ended, reader.rest) == ([b"a", b"bc"], True, b"HTTP")


def test_a_program_is_watched_and_stopped() -> None:
    code = "import signal; print('ready', 42); signal.pause()"
    with Program.python("-c", code) as program:
        assert program.wait_for_line(r"ready (\d+)")[1] == "42"
        with pytest.raises(AssertionError, match=r"not within .*: 'never'(.|\n)*ready 42"):
            program.wait_for_line("never", deadline_s=0.02)
        os.kill(program.pid, 0)
    assert program.process.returncode == -signal.SIGTERM


def test_a_program_that_ends_tells_its_output() -> None:
    with Program.python("-c", "print('bye'); raise SystemExit(3)") as program:
        with pytest.raises(AssertionError, match=r"ended without 'ready'(.|\n)*bye"):
            program.wait_for_line("ready")
        assert program.wait() == 3


SKIPS = """
    import pytest

    def test_passes():
        pass

    def test_skips():
        pytest.skip("no browser")

    @pytest.mark.xfail
    def test_known_to_fail():
        assert False
"""


def test_a_skip_fails_in_ci_alone(pytester: pytest.Pytester, monkeypatch) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(SKIPS)
    monkeypatch.setenv("CI", "true")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*skipped, which CI does not allow*no browser*"])
    monkeypatch.setenv("CI", "false")
    pytester.runpytest_subprocess().assert_outcomes(passed=1, skipped=1, xfailed=1)


def test_a_module_that_skips_itself_fails_in_ci(pytester: pytest.Pytester, monkeypatch) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile("import pytest; pytest.importorskip('no_such_module')")
    monkeypatch.setenv("CI", "true")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    assert result.ret != 0


def test_runs_on_both(backend: str) -> None:
    assert backend in ("trio", "threads")


def test_backend_runs_a_test_twice(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile("def test_it(backend): assert backend in ('trio', 'threads')")
    pytester.runpytest_subprocess("-v").assert_outcomes(passed=2)


def test_soak_and_faults_are_left_out(pytester: pytest.Pytester, monkeypatch) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makeini("[pytest]\nmarkers = soak\n    faults")
    pytester.makepyfile(
        "import pytest\n@pytest.mark.soak\ndef test_long(): pass\ndef test_it(): pass"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1, deselected=1)
    pytester.runpytest_subprocess("--soak").assert_outcomes(passed=2)
