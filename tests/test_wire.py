"""Wires: a socket as it is, and under TLS, over real socket pairs.

The other end of TLS is the standard library's own ``ssl`` socket, with
certificates that trustme made: it knows nothing of ours, so it cannot agree
with our mistakes.

It is longer than others: the two wires keep one set of rules, and are read side by side.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import trustme

from h3py import ConnectionClosed, SSEEvent, format_event
from h3py._speedups.write_queue import WriteQueue
from h3py.connection import plain, wait_for
from h3py.wire import RECORD_BYTES, PlainWire, TLSWire
from tests.support.wait import DEADLINE_S, Deadline

T = TypeVar("T")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over loopback, ours and theirs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.settimeout(Deadline().left_s)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """A thread for the peer's blocking half."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def waiting(fd: int, step: Callable[[], T], *, write: bool = False) -> T:
    """What a backend does around a wire: wait where it would block, and try again."""
    deadline = Deadline()
    while True:
        try:
            return step()
        except BlockingIOError:
            wait_for(fd, None if deadline.passed else _at(deadline), write=write)
            assert not deadline.passed, "the wire never became ready"


def _at(deadline: Deadline) -> float:
    return time.monotonic() + deadline.left_s


def shake(wire: TLSWire) -> None:
    deadline = Deadline()
    while not wire.handshake():
        assert wait_for(wire.fd, _at(deadline), write=wire.unsent), "no handshake"


def send_all(wire: PlainWire, queue: WriteQueue) -> None:
    deadline = Deadline()
    while not wire.send(queue):
        assert wait_for(wire.fd, _at(deadline), write=True), "the peer takes nothing"


def queue_of(*pieces: bytes) -> WriteQueue:
    queue = WriteQueue(max_bytes=1 << 30, max_event_bytes=1 << 30)
    for piece in pieces:
        queue.append(piece)
    return queue


@pytest.fixture
def secure(
    sockets: tuple[socket.socket, socket.socket],
    beside: ThreadPoolExecutor,
    server_side: ssl.SSLContext,
    client_side: ssl.SSLContext,
) -> Iterator[tuple[TLSWire, ssl.SSLSocket]]:
    """A wire after its handshake, and the client."""
    ours, theirs = sockets
    wire = TLSWire(ours, server_side)
    shaking = beside.submit(client_side.wrap_socket, theirs, server_hostname="localhost")
    shake(wire)
    client = shaking.result(DEADLINE_S)
    with client:
        yield wire, client


# -- plain ---------------------------------------------------------------------


def test_plain_sends_and_receives_what_it_is_given(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    wire = PlainWire(ours)
    assert not wire.tls
    assert wire.fd == ours.fileno()
    queue = queue_of(b"one", b"two")
    assert wire.send(queue)
    assert wire.send_event(queue, SSEEvent("three"))
    assert theirs.recv(100) == b"onetwo" + format_event(SSEEvent("three"))
    with pytest.raises(BlockingIOError):
        wire.recv(10)
    theirs.sendall(b"answer")
    assert wire.recv(3) == b"ans"
    assert wire.recv(100) == b"wer"
    theirs.shutdown(socket.SHUT_WR)
    assert wire.recv(10) == b""
    assert not wire.unsent


def test_plain_says_when_the_socket_takes_no_more(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    wire = PlainWire(ours)
    size = 8 * 1024 * 1024
    queue = queue_of(b"x" * size)
    assert not wire.send(queue)
    assert 0 < queue.queued_bytes < size
    received = 0
    with ThreadPoolExecutor(1) as beside:
        sending = beside.submit(send_all, wire, queue)
        while received < size:
            received += len(theirs.recv(1 << 20))
        sending.result(DEADLINE_S)


def test_plain_tells_a_broken_connection(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    wire = PlainWire(ours)
    theirs.close()

    def send_twice() -> None:
        """The first send meets the closed end, the second its answer."""
        wire.send(queue_of(b"x"))
        wait_for(wire.fd, None, write=False)
        wire.send(queue_of(b"x"))

    with pytest.raises(ConnectionClosed):
        send_twice()


def test_plain_tells_a_reset_while_it_reads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    wire = plain(ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(ConnectionClosed, match="reset"):
        waiting(wire.fd, lambda: wire.recv(10))
    wire.close()


def test_shutting_down_ends_both_ways_and_may_be_repeated(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    wire = PlainWire(ours)
    wire.shut_down()
    assert wire.recv(10) == b""
    assert theirs.recv(10) == b""
    theirs.close()
    wire.shut_down()
    wire.close()
    wire.shut_down()
    assert wire.fd == -1


def test_a_descriptor_given_away_stays_open(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    wire = PlainWire(ours)
    fd = wire.detach()
    assert wire.fd == -1
    wire.close()  # closes nothing any more
    with socket.socket(fileno=fd) as again:
        again.sendall(b"still here")
        assert theirs.recv(100) == b"still here"


# -- TLS -----------------------------------------------------------------------


def test_tls_carries_bytes_both_ways(secure: tuple[TLSWire, ssl.SSLSocket]) -> None:
    wire, client = secure
    assert wire.tls
    queue = queue_of(b"one", b"two")
    assert wire.send(queue)
    assert wire.send_event(queue, SSEEvent("three"))
    expected = b"onetwo" + format_event(SSEEvent("three"))
    received = b""
    while len(received) < len(expected):
        received += client.recv(100)
    assert received == expected
    with pytest.raises(BlockingIOError):
        wire.recv(10)
    client.sendall(b"answer")
    assert waiting(wire.fd, lambda: wire.recv(3)) == b"ans"
    assert wire.recv(100) == b"wer"  # decrypted already: no socket will tell of it


def test_tls_encrypts(
    sockets: tuple[socket.socket, socket.socket],
    beside: ThreadPoolExecutor,
    server_side: ssl.SSLContext,
    client_side: ssl.SSLContext,
) -> None:
    """What passes through the socket is not what was sent."""
    ours, theirs = sockets
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(incoming, outgoing, server_hostname="localhost")
    wire = TLSWire(ours, server_side)
    shaking = beside.submit(shake, wire)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            theirs.sendall(outgoing.read())
            incoming.write(theirs.recv(65536))
        else:
            theirs.sendall(outgoing.read())
            break
    shaking.result(DEADLINE_S)
    secret = b"nobody reads this on the way"
    assert wire.send(queue_of(secret))
    seen = b""
    received = b""
    while received != secret:
        piece = theirs.recv(65536)
        seen += piece
        incoming.write(piece)
        with contextlib.suppress(ssl.SSLWantReadError):  # so far these were session tickets
            received += client.read(1000)
    assert secret not in seen


def test_tls_waits_for_a_slow_reader_and_loses_nothing(
    secure: tuple[TLSWire, ssl.SSLSocket], beside: ThreadPoolExecutor
) -> None:
    wire, client = secure
    size = 4 * 1024 * 1024
    data = bytes(range(256)) * (size // 256)
    queue = queue_of(data)
    assert not wire.send(queue)
    assert wire.unsent
    assert size - 4 * RECORD_BYTES > queue.queued_bytes > 0, "a record at a time, not all at once"
    sending = beside.submit(send_all, wire, queue)
    received = bytearray()
    while len(received) < size:
        received += client.recv(1 << 16)
    sending.result(DEADLINE_S)
    assert received == data
    assert not wire.unsent


@pytest.mark.parametrize("how", ["close_notify", "close_notify after ours", "fin"])
def test_tls_sees_the_client_leave(secure: tuple[TLSWire, ssl.SSLSocket], how: str) -> None:
    wire, client = secure
    if how == "close_notify after ours":
        assert wire.send_end()
        client.unwrap()
    elif how == "close_notify":
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
    else:
        client.shutdown(socket.SHUT_RDWR)  # under TLS: a cut
    assert waiting(wire.fd, lambda: wire.recv(10)) == b""


def test_tls_ends_with_a_notice_that_nothing_is_missing(
    secure: tuple[TLSWire, ssl.SSLSocket],
) -> None:
    """Sealed, the rest can be sent by somebody who knows nothing of TLS."""
    wire, client = secure
    sealed = wire.seal(queue_of(b"the rest"))
    fd = wire.detach()
    while not sealed.send(fd):
        assert wait_for(fd, None, write=True)
    socket.close(fd)
    # suppress_ragged_eofs is for those who do not care: here a cut must not look like an end.
    client.suppress_ragged_eofs = False
    assert client.recv(100) == b"the rest"
    assert client.recv(100) == b""


def test_tls_without_the_notice_is_a_cut(secure: tuple[TLSWire, ssl.SSLSocket]) -> None:
    """What the test above can see: without close_notify this client raises."""
    wire, client = secure
    assert wire.send(queue_of(b"the rest"))
    wire.close()
    client.suppress_ragged_eofs = False
    assert client.recv(100) == b"the rest"
    with pytest.raises(ssl.SSLError):
        client.recv(100)


def test_sealing_for_a_client_that_has_gone_is_no_error(
    secure: tuple[TLSWire, ssl.SSLSocket],
) -> None:
    wire, client = secure
    client.close()
    wire.seal(queue_of(b"x" * (1 << 20)))
    assert wire.fd >= 0


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_a_handshake_with_what_is_not_tls_fails(
    sockets: tuple[socket.socket, socket.socket], server_side: ssl.SSLContext, nonsense: bytes
) -> None:
    ours, theirs = sockets
    wire = TLSWire(ours, server_side)
    assert not wire.handshake()
    theirs.sendall(nonsense)
    with pytest.raises(ConnectionClosed, match="TLS handshake failed"):
        shake(wire)


def test_a_client_that_leaves_during_the_handshake_is_told(
    sockets: tuple[socket.socket, socket.socket], server_side: ssl.SSLContext
) -> None:
    ours, theirs = sockets
    wire = TLSWire(ours, server_side)
    theirs.close()
    with pytest.raises(ConnectionClosed, match="left during the TLS handshake"):
        shake(wire)


def test_a_client_that_distrusts_us_ends_the_handshake(
    sockets: tuple[socket.socket, socket.socket],
    beside: ThreadPoolExecutor,
    server_side: ssl.SSLContext,
) -> None:
    """Its alert is an error of the connection, not of the server."""
    ours, theirs = sockets
    wire = TLSWire(ours, server_side)
    refusing = ssl.create_default_context()  # trusts other authorities
    shaking = beside.submit(refusing.wrap_socket, theirs, server_hostname="localhost")

    def shake_and_read() -> None:
        shake(wire)
        waiting(wire.fd, lambda: wire.recv(10))  # TLS 1.3 tells only now

    with pytest.raises(ConnectionClosed):
        shake_and_read()
    assert isinstance(shaking.exception(DEADLINE_S), ssl.SSLCertVerificationError)


def test_a_handshake_in_pieces_succeeds(
    sockets: tuple[socket.socket, socket.socket],
    server_side: ssl.SSLContext,
    client_side: ssl.SSLContext,
) -> None:
    """A byte at a time: each step waits for more, and none blocks."""
    ours, theirs = sockets
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(incoming, outgoing, server_hostname="localhost")
    wire = TLSWire(ours, server_side)
    steps = 0
    done = False
    theirs.setblocking(False)
    while not done:
        try:
            client.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        for byte in outgoing.read():
            theirs.send(bytes([byte]))
            steps += not wire.handshake()
        try:
            incoming.write(theirs.recv(65536))
        except BlockingIOError:
            continue
    assert steps > 100
    shake(wire)


def test_bytes_that_are_not_tls_end_a_connection_that_was(
    sockets: tuple[socket.socket, socket.socket],
    secure: tuple[TLSWire, ssl.SSLSocket],
) -> None:
    wire, client = secure
    raw = socket.socket(fileno=client.detach())
    with raw:
        raw.sendall(b"this is no TLS record at all")
        with pytest.raises(ConnectionClosed, match="TLS failed"):
            waiting(wire.fd, lambda: wire.recv(10))
