"""``EventReader``: against a server, and against bytes that a test writes itself."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from h3py import H3, H3Event, running
from h3py.testing import EventReader, SocketReader
from tests.support.wait import SCALE


def app() -> H3:
    made = H3()

    @made.all("/stream")
    def stream(event: H3Event) -> Iterator[str]:
        assert event.client is None or event.client[0] in ("127.0.0.1", "::1")
        yield f"{event.method} {event.query.get('q')} {event.headers.get('x-a')}"
        yield event.headers["host"]

    return made


def test_it_asks_and_reads(backend: str) -> None:
    with running(app(), backend=backend) as server:
        url = f"{server.url}/stream?q=1"
        with EventReader(url, headers=[("X-A", "b")], method="POST") as reader:
            assert reader.status == 200
            assert reader.headers["content-type"] == "text/event-stream"
            assert reader.read_event().data == "POST 1 b"
            assert reader.read_to_end()[0].data == server.url.removeprefix("http://")
            reader.read_eof()


def test_it_reads_over_tls(backend: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    path = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running(app(), backend=backend, certificate=path) as server:
        with EventReader(f"{server.url}/stream", ssl_context=trusting) as reader:
            assert reader.read_event().data == "GET None None"
        with pytest.raises(ssl.SSLCertVerificationError):
            EventReader(f"{server.url}/stream")


def test_it_reads_over_a_unix_socket(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        running(app(), backend=backend, unix_path=path),
        EventReader("http://somewhere/stream", unix_path=str(path)) as reader,
    ):
        assert [event.data for event in reader.read_to_end()] == ["GET None None", "somewhere"]


def test_it_reads_over_ipv6(backend: str) -> None:
    with (
        running(app(), backend=backend, host="::1") as server,
        EventReader(f"{server.url}/stream") as reader,
    ):
        assert len(reader.read_to_end()) == 2


@pytest.mark.parametrize("url", ["ftp://x/", "127.0.0.1:80/x", "/stream"])
def test_a_url_it_cannot_open_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http:// or https://"):
        EventReader(url)


def test_nobody_there_is_an_error_and_leaks_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        EventReader(f"http://127.0.0.1:{port}/")


@pytest.fixture
def pair() -> Iterator[tuple[SocketReader, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, SocketReader(theirs, deadline_s=0.2) as reader:
        yield reader, ours


def test_a_deadline_that_passes_is_a_failure(pair: tuple[SocketReader, socket.socket]) -> None:
    reader, _ = pair
    for ask in (lambda: reader.status, reader.read_event, reader.read_to_end, reader.read_eof):
        with pytest.raises(AssertionError, match=f"{0.2 * SCALE:g} s"):
            ask()


def test_a_deadline_holds_against_a_server_that_floods(
    pair: tuple[SocketReader, socket.socket],
) -> None:
    """What comes is not what was asked for: that must not go on for ever."""
    reader, ours = pair
    ours.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def flood() -> None:
        try:
            while True:
                ours.sendall(b": not an event\n\n" * 100)
        except OSError:
            return

    flooding = threading.Thread(target=flood)
    flooding.start()
    with pytest.raises(AssertionError, match=f"not within {0.2 * SCALE:g} s: 1 events"):
        reader.read_event()
    reader.close()
    flooding.join()


def test_what_breaks_is_told(pair: tuple[SocketReader, socket.socket]) -> None:
    reader, ours = pair
    ours.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.status == 200
    SocketReader(ours).reset()
    with pytest.raises(AssertionError, match="broke before 1 events"):
        reader.read_event()
    reader.read_eof()


def test_leaving_is_seen_as_it_is_meant(pair: tuple[SocketReader, socket.socket]) -> None:
    reader, ours = pair
    reader.reset()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
