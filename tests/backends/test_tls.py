"""TLS over both backends: streams driven and parked, clients that leave, bytes that are none."""

from __future__ import annotations

import contextlib
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from h3py import H3, CloseReason, ConfigError, SSEWriter, running
from h3py.testing import ManualClock
from tests.backends.ways import DRIVEN_WAYS, FLAVOURS, WAYS, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


def app_of_peers() -> H3:
    app = H3()
    app.get("/")(lambda event: f"{event.client} {event.url}")
    return app


@FLAVOURS
@WAYS
def test_streams_over_tls(
    backend: str, way: str, flavour: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    stage = Stage(way, flavour, "three")
    with running(stage.app, backend=backend, certificate=certificate) as server:
        assert server.url.startswith("https://")
        with Client(server.addresses[0], tls=trusting) as client:
            assert client.get("/plain").text == "plain"
            stream = client.open_stream("/stream")
            assert [event.data for event in stream.read_events(3)] == ["one", "two", "three"]
            if way == "parked":
                wait_until(lambda: not server.driven)
                for number in range(100):
                    stage.stream.send_nowait(stage.last.replace(data=str(number)))
                numbers = [event.data for event in stream.read_events(100)]
                assert numbers == [str(number) for number in range(100)]
                stage.stream.close()
            assert stream.read_to_end() == []
            client.socket.suppress_ragged_eofs = False  # type: ignore[union-attr]
            client.expect_eof()  # with close_notify: not a cut
        settled(server, streams=1)
        assert server.closed_streams == {CloseReason.HANDLER_DONE: 1}


@pytest.mark.parametrize("how", ["unwrap", "fin", "rst"])
@FLAVOURS
@WAYS
def test_a_client_that_leaves_under_tls(
    backend: str, way: str, flavour: str, how: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    stage = Stage(way, flavour, "sleep")
    with running(stage.app, backend=backend, certificate=certificate, heartbeat_s=None) as server:
        client = Client(server.addresses[0], tls=trusting)
        stream = client.open_stream("/stream")
        assert stream.read_event().data == "here"
        if way == "parked":
            wait_until(lambda: not server.driven)
        if how == "unwrap" and way == "parked":
            # A driven stream's TLS is not read: there the FIN that follows tells.
            client.socket.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):  # raised, if no answer is there yet
                client.socket.unwrap()  # type: ignore[union-attr]
            wait_until(lambda: stage.stream.close_reason)
        if how == "rst":
            client.reset()
        else:
            client.close()
        wait_until(lambda: stage.stream.close_reason)
        stage.go_on.set()
        settled(server, streams=1)
        assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
        wait_until(lambda: stage.reasons)
        assert stage.reasons == [CloseReason.CLIENT_CLOSED]


@FLAVOURS
@DRIVEN_WAYS
def test_a_large_event_over_tls_to_a_client_that_is_slow_at_first(
    backend: str, way: str, flavour: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    text = "0123456789abcdef" * (4 * 1024 * 1024 // 16)
    stage = Stage(way, flavour, "three", events=["before", text, "after"])
    with running(stage.app, backend=backend, certificate=certificate) as server:
        with Client(server.addresses[0], tls=trusting, receive_buffer=4096) as client:
            stream = client.open_stream("/stream")
            wait_until(lambda: any(item.blocked_since for item in tuple(server.driven)))
            assert [event.data for event in stream.read_to_end()] == ["before", text, "after"]
        settled(server, streams=1)


def test_a_parked_stream_over_tls_takes_what_many_threads_send(
    backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """Whole events, each thread's own in order."""
    stage = Stage("parked", "plain", "three")
    with running(stage.app, backend=backend, certificate=certificate) as server:
        with Client(server.addresses[0], tls=trusting) as client:
            stream = client.open_stream("/stream")
            stream.read_events(3)
            wait_until(lambda: not server.driven)
            writer = SSEWriter(stage.stream)

            def send(thread: int) -> None:
                for number in range(200):
                    writer.send_event(f"{thread} {number} {'x' * 500}")

            threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            seen: dict[int, list[int]] = {number: [] for number in range(4)}
            for event in stream.read_events(800):
                thread_number, number, text = event.data.split()
                assert text == "x" * 500
                seen[int(thread_number)].append(int(number))
            assert seen == {number: list(range(200)) for number in range(4)}
            for thread in threads:
                thread.join(DEADLINE_S)
        settled(server, streams=1)


def test_what_is_not_tls_ends_its_own_connection_alone(
    backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    with running(app_of_peers(), backend=backend, certificate=certificate) as server:
        for nonsense in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\0"):
            with Client(server.addresses[0]) as client:
                client.send(nonsense)
                client.end_sending()
                client.expect_closed()
        distrusting = ssl.create_default_context()
        for _ in range(3):
            with pytest.raises(ssl.SSLCertVerificationError):
                Client(server.addresses[0], tls=distrusting)
        with Client(server.addresses[0], tls=trusting) as client:
            assert client.get("/").status == 200
        wait_until(lambda: server.open_connections == 0)


def test_a_handshake_that_takes_too_long(
    backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    clock = ManualClock()
    with running(
        app_of_peers(), backend=backend, certificate=certificate, clock=clock, header_timeout_s=9.0
    ) as server:
        with Client(server.addresses[0]) as client:
            client.send(b"\x16\x03\x01")
            wait_until(lambda: server.conversations)
            clock.advance(9.0)
            client.expect_closed()
        wait_until(lambda: server.open_connections == 0)


def test_a_ready_context_and_a_key_apart(
    tmp_path: Path, backend: str, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    issued = authority.issue_cert("localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    ready = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(ready)
    for options in ({"certificate": chain, "private_key": key}, {"ssl_context": ready}):
        with (
            running(app_of_peers(), backend=backend, **options) as server,
            Client(server.addresses[0], tls=trusting) as client,
        ):
            assert client.get("/").status == 200
    other = authority.issue_cert("other")
    other.private_key_pem.write_to_path(key)
    with (
        pytest.raises(ConfigError, match="cannot use certificate"),
        running(H3(), backend=backend, certificate=chain, private_key=key),
    ):
        pytest.fail("served with a key that does not match")
    with (
        pytest.raises(ConfigError, match=r"no\.pem"),
        running(H3(), backend=backend, certificate=chain, private_key=tmp_path / "no.pem"),
    ):
        pytest.fail("served without a key")
